-- release: ends the claim on one placement if it is exactly the caller's.
--
-- KEYS[1]  the placement's claim, a hash {epoch, node} with a time to live
-- ARGV[1]  epoch, 20 hex digits
-- ARGV[2]  node that releases
--
-- returns  1  released
--          0  there was none, or it is another node's or another epoch's
local held = redis.call('HMGET', KEYS[1], 'epoch', 'node')
if held[1] == ARGV[1] and held[2] == ARGV[2] then
  return redis.call('DEL', KEYS[1])
end
return 0
