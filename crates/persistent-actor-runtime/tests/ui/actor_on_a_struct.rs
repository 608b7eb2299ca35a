use persistent_actor_runtime::actor;

#[actor]
struct Counter {
    counter: u64,
}

fn main() {
    let _ = Counter { counter: 0 }.counter;
}
