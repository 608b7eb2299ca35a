#[persistent_actor_runtime::main]
fn main() {}
