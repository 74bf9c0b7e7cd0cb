-- acquire: grants or renews the claim on one placement, or says who holds it.
--
-- KEYS[1]  the placement's claim, a hash {epoch, node} with a time to live
-- ARGV[1]  epoch, 20 hex digits (compared as text: that is number order)
-- ARGV[2]  node that asks
-- ARGV[3]  time to live in milliseconds, by this server's clock
--
-- returns  {1, node}    granted: it was free, expired, of a lower epoch, or
--                       this node's at this epoch already
--          {0, holder}  refused: held at this epoch by another node, or at a
--                       higher epoch by the node that is returned
local held = redis.call('HMGET', KEYS[1], 'epoch', 'node')
local epoch, node = held[1], held[2]
if epoch and (epoch > ARGV[1] or (epoch == ARGV[1] and node ~= ARGV[2])) then
  return {0, node}
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'node', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {1, ARGV[2]}
