use persistent_actor_runtime::safe_state;

struct Counter {
    counter: u64,
}

impl Counter {
    #[safe_state("counter")]
    fn increment(&mut self) {
        self.counter += 1;
    }
}

#[safe_state("counter")]
fn function() {}

fn main() {
    Counter { counter: 0 }.increment();
    function();
}
