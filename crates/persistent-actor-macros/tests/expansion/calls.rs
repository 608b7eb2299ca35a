//! Calls through the generated handle reach the right method with the right arguments.

use persistent_actor_macros::{actor, safe_state};
use serde::{Deserialize, Serialize};

use crate::__private::{Actor, ActorType, CallError, Handle, Remote, inventory};
use crate::block_on;

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    log: Vec<String>,
    seen: u32,
    r#type: u8,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Overdrawn {
    missing: u64,
}

#[actor]
impl Account {
    const LIMIT: u64 = 1000;

    /// Left alone: it has no `self`.
    fn limited(amount: u64) -> u64 {
        amount.min(Self::LIMIT)
    }

    #[safe_state("balance", "log")]
    fn deposit(&mut self, amount: u64, mut note: String) -> u64 {
        note.push('!');
        self.seen += 1;
        self.balance += Self::limited(amount);
        self.log.push(note);
        self.balance
    }

    #[safe_state("balance")]
    fn withdraw(&mut self, amount: u64) -> Result<u64, Overdrawn> {
        let missing = amount.saturating_sub(self.balance);
        self.balance = self.balance.checked_sub(amount).ok_or(Overdrawn { missing })?;
        Ok(self.balance)
    }

    #[safe_state("type", "log")]
    fn clear(&mut self) {
        self.r#type += 1;
        self.log.clear();
    }

    #[cfg(not(test))]
    #[safe_state("seen")]
    fn only_outside_tests(&mut self) -> NoSuchType {}

    #[cfg(test)]
    #[cfg(not(windows))]
    fn only_in_tests(&self) -> String {
        format!("here, with {}", self.balance)
    }

    fn history(&self) -> Vec<String> {
        self.log.clone()
    }

    fn r#type(&self, actor: (u8, bool), args: [u8; 2]) -> ((u8, bool), [u8; 2], u8) {
        (actor, args, self.r#type)
    }
}

fn account() -> AccountHandle {
    AccountHandle::from(Handle::new(Account::default()))
}

#[test]
fn a_call_takes_its_arguments_there_and_its_result_back() {
    let account = account();
    assert_eq!(block_on(account.deposit(5, "rent".to_owned())), Ok(5));
    assert_eq!(block_on(account.deposit(5000, "win".to_owned())), Ok(1005));
    assert_eq!(block_on(account.history()), Ok(vec!["rent!".to_owned(), "win!".to_owned()]));
    assert_eq!(block_on(account.clear()), Ok(()));
    assert_eq!(block_on(account.history()), Ok(Vec::new()));
}

#[test]
fn a_method_that_returns_a_result_fails_with_its_own_error() {
    let account = account();
    let error = block_on(account.withdraw(7)).unwrap_err();
    assert_eq!(error, CallError::Method(Overdrawn { missing: 7 }));
}

#[test]
fn a_method_that_a_cfg_removes_does_not_shift_the_others() {
    let account = account();
    assert_eq!(block_on(account.only_in_tests()), Ok("here, with 0".to_owned()));
    assert_eq!(block_on(account.history()), Ok(Vec::new()));
}

#[test]
fn names_of_arguments_and_methods_may_be_those_the_expansion_uses() {
    assert_eq!(block_on(account().r#type((3, true), [1, 2])), Ok(((3, true), [1, 2], 0)));
}

#[test]
fn the_table_lists_methods_with_what_they_save() {
    assert_eq!(Account::NAME, "Account");
    assert_eq!(Account::ATTRIBUTES, ["balance", "log", "type", "seen"]);
    let table: Vec<_> = Account::METHODS
        .iter()
        .map(|method| (method.name, method.saves.map(<[_]>::to_vec)))
        .collect();
    let expected = [
        ("deposit", Some(vec![0, 1])),
        ("withdraw", Some(vec![0])),
        ("clear", Some(vec![2, 1])),
        ("only_in_tests", None),
        ("history", None),
        ("type", None),
    ];
    assert_eq!(table, expected);
}

#[test]
fn attributes_are_saved_and_loaded_by_index() {
    let one = Account { balance: 7, log: vec!["a".to_owned()], seen: 3, r#type: 9 };
    let mut other = Account::default();
    for index in 0..3 {
        other.load(index, &one.save(index).unwrap()).unwrap();
    }
    assert_eq!((other.balance, other.log, other.r#type, other.seen), (7, one.log, 9, 0));
}

#[test]
fn an_index_or_a_value_that_does_not_fit_is_an_error() {
    let mut account = Account::default();
    let error = account.save(4).unwrap_err().to_string();
    assert_eq!(error, "cannot encode a value of type Account: there is no attribute number 4");
    let text = crate::__private::encode("text").unwrap();
    assert!(account.load(4, &text).unwrap_err().to_string().contains("no attribute number 4"));
    assert!(account.load(0, &text).unwrap_err().to_string().contains("as u64"));
    assert_eq!(account.balance, 0);
}

#[test]
fn arguments_that_do_not_fit_are_refused_before_the_method_runs() {
    let mut account = Account::default();
    let args = crate::__private::encode(&("five",)).unwrap();
    (Account::METHODS[0].run)(&mut account, &args).unwrap_err();
    assert_eq!(account.seen, 0);
}

#[test]
fn a_handle_is_cloned_and_printed_and_derefs_to_the_generic_one() {
    let account = account();
    let clone = account.clone();
    clone.with(|account| account.balance = 40);
    assert_eq!(block_on(account.withdraw(1)), Ok(39));
    assert_eq!(format!("{account:?}"), "AccountHandle(Handle<Account>)");
    let _: <Account as Remote>::Handle = account;
}

#[test]
fn a_waiting_call_can_move_to_another_thread() {
    fn spawned<T: Send>(call: T) -> T {
        call
    }
    let account = account();
    assert_eq!(block_on(spawned(account.deposit(4, String::new()))), Ok(4));
}

#[test]
fn a_type_is_registered_for_worker_processes() {
    assert!(inventory::iter::<ActorType>().any(|ty| ty.name == "Account"));
}
