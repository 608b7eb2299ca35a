//! CBOR read without knowing what it is: the heads of its data items, and how deep they nest.

use super::MAX_DEPTH;

// Kinds of CBOR items: the upper three bits of their first byte.
pub(super) const BYTES: u8 = 2;
pub(super) const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
pub(super) const TAG: u8 = 6;
/// Ends an array, a map or a string whose length was not announced.
const BREAK: u8 = 0xFF;

/// Whether a data item nests deeper than [`MAX_DEPTH`]. Of what [`encode`](super::encode) does not
/// write (strings in several pieces), and of what is no data item, it may say anything.
pub(super) fn is_too_deep(cbor: &[u8]) -> bool {
    // Each level takes a byte that looks like the head of an array or a map. Most values have too
    // few of these, and counting them is a hundred times faster than reading the value.
    const AT_A_TIME: usize = 128; // The sum fits into a byte.
    let looks_like_level = |byte: &u8| u8::from(matches!(byte >> 5, ARRAY | MAP));
    let mut found = 0;
    let has_enough = cbor.chunks(AT_A_TIME).any(|part| {
        found += usize::from(part.iter().map(looks_like_level).sum::<u8>());
        found > MAX_DEPTH
    });
    has_enough && has_too_many_levels(cbor).unwrap_or(false)
}

/// The same, by reading the heads of all that is in it. `None` if it ends too early.
fn has_too_many_levels(mut rest: &[u8]) -> Option<bool> {
    // How many items are still to come: in the innermost level, and in those around it.
    let (mut left, mut around) = (1, Vec::new());
    loop {
        while left == 0 {
            let Some(outer) = around.pop() else { return Some(false) };
            left = outer;
        }
        let (first, argument) = take_head(&mut rest)?;
        let major = first >> 5;
        match major {
            TAG => continue,
            _ if first == BREAK => left = 1,
            BYTES | TEXT => rest = rest.get(usize::try_from(argument).ok()?..)?,
            ARRAY | MAP => {
                around.push(left - 1);
                if around.len() > MAX_DEPTH {
                    return Some(true);
                }
                let items = argument.saturating_mul(if major == MAP { 2 } else { 1 });
                left = items.saturating_add(1);
            }
            _ => {}
        }
        left -= 1;
    }
}

/// The first byte of a head, and the number in it; where that says that a break follows, more than
/// there can be.
pub(super) fn take_head(rest: &mut &[u8]) -> Option<(u8, u64)> {
    let (&first, after) = rest.split_first()?;
    let (number, after) = match first & 0x1F {
        24..=27 => {
            let (number, after) = after.split_at_checked(1 << ((first & 0x1F) - 24))?;
            (number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), after)
        }
        31 => (u64::MAX, after),
        number => (u64::from(number), after),
    };
    *rest = after;
    Some((first, number))
}
