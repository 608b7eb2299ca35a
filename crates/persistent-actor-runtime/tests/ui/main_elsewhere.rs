#[persistent_actor_runtime::main]
async fn start() {}

#[persistent_actor_runtime::main]
struct Main;

fn main() {}
