#[persistent_actor_runtime::main]
async fn main(name: String) {}
