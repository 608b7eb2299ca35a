//! What happens on the server, each in one step: Redis runs a script alone.
//!
//! Keys, all of one state in one hash slot: 1 the state, 2 attributes, 3 calls, 4 floors
//! (`docs/format-redis.md`).

/// Claims the next epoch and reads everything. Argument: 1 to make a state that is not there.
pub(super) const OPEN: &str = r"
local format = redis.call('HGET', KEYS[1], 'format')
if format == false then
  if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[4]) > 0 then return {'foreign'} end
  if ARGV[1] ~= '1' then return {'missing'} end
  redis.call('HSET', KEYS[1], 'format', '1', 'epoch', '0', 'sequence', '0', 'expired', '0')
elseif format ~= '1' then
  return {'newer', format}
end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
return {'open', epoch, redis.call('HGET', KEYS[1], 'sequence'),
  redis.call('HGET', KEYS[1], 'expired'), redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4])}
";

/// Commits a record. Arguments: epoch; sequence number of the record; number of calls to forget,
/// then their ids; number of attributes, then name and value of each; number of calls (0 or 1),
/// then id and entry; number of floors, then session and floor of each.
///
/// The same record again, from the same epoch, changes nothing: after a connection was lost it
/// can be sent again.
pub(super) const COMMIT: &str = r"
local found = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
if found[1] == false then return 'missing' end
if found[1] ~= ARGV[1] then return 'fenced' end
if found[2] == ARGV[2] then return 'ok' end
if tonumber(found[2]) + 1 ~= tonumber(ARGV[2]) then return 'gap' end
local count = tonumber(ARGV[3])
for item = 1, count do redis.call('HDEL', KEYS[3], ARGV[3 + item]) end
local place = 4 + count
for key = 2, 4 do
  local count = tonumber(ARGV[place])
  for pair = 1, count do
    redis.call('HSET', KEYS[key], ARGV[place + 2 * pair - 1], ARGV[place + 2 * pair])
  end
  place = place + 2 * count + 1
end
redis.call('HSET', KEYS[1], 'sequence', ARGV[2])
return 'ok'
";

/// Tells whether an epoch, the one argument, is still the newest.
pub(super) const CHECK: &str = r"
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch == false then return 'missing' end
if epoch ~= ARGV[1] then return 'fenced' end
return 'ok'
";

/// Forgets calls and floors. Arguments: epoch; time before which sessions have expired; number of
/// floors to set, then session and floor of each; number of calls to forget, then their ids;
/// number of floors to forget, then their sessions.
pub(super) const FORGET: &str = r"
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch == false then return 'missing' end
if epoch ~= ARGV[1] then return 'fenced' end
redis.call('HSET', KEYS[1], 'expired', ARGV[2])
local count = tonumber(ARGV[3])
for pair = 1, count do
  redis.call('HSET', KEYS[4], ARGV[2 + 2 * pair], ARGV[3 + 2 * pair])
end
local place = 4 + 2 * count
for key = 3, 4 do
  local count = tonumber(ARGV[place])
  for item = 1, count do redis.call('HDEL', KEYS[key], ARGV[place + item]) end
  place = place + count + 1
end
return 'ok'
";
