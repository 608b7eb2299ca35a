//! How much memory a process takes.

use std::fs;

/// The memory of a process, what it shares with others counted in parts (`Pss` of
/// proc_pid_smaps(5)). Bytes; `None` when the process is gone or may not be looked at.
pub fn pss_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The median of several processes; `None` when one of them cannot be looked at.
pub fn median_pss_bytes(pids: impl Iterator<Item = u32>) -> Option<u64> {
    let mut all = pids.map(pss_bytes).collect::<Option<Vec<u64>>>()?;
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_fills_counts_as_its_memory() {
        let pid = std::process::id();
        let filled = vec![7u8; 64 << 20];
        // Not compared with what it was before: other tests of this process give memory back.
        let after = pss_bytes(pid).unwrap();
        assert!(after >= 64 << 20, "{after} {}", filled[1 << 20]);
        assert_eq!(median_pss_bytes([pid, u32::MAX].into_iter()), None);
        assert_eq!(median_pss_bytes(std::iter::empty()), None);
    }
}
