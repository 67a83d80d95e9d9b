-- A broker's sign of life: says that it lives, hears who else does, and elects one for the chores.
--
-- KEYS: the brokers hash, the key of the chores, the serials.
-- ARGV: instance; what it says of itself (JSON); milliseconds after which a silent broker counts
-- as gone; milliseconds for which the chores are lent; '1' to go: it leaves in good order.
-- Returns { server time in ms, holder of the chores, instance, time of its last beat, what it
-- said, ... } with those that live.
--
-- Who does the chores matters for efficiency only: two at once do no harm.

local instance, said, gone_ms, lease_ms, goes = unpack(ARGV)
local brokers, chores, serials = KEYS[1], KEYS[2], KEYS[3]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local stamp = string.format('%.0f', now)

if goes == '1' then
  redis.call('HDEL', brokers, instance)
  redis.call('HDEL', serials, instance)
  if redis.call('GET', chores) == instance then redis.call('DEL', chores) end
  return { stamp, redis.call('GET', chores) or '' }
end
redis.call('HSET', brokers, instance, stamp .. ' ' .. said)
local holder = redis.call('GET', chores)
if not holder or holder == instance then
  redis.call('SET', chores, instance, 'PX', lease_ms)
  holder = instance
end

local out = { stamp, holder }
local rows = redis.call('HGETALL', brokers)
for i = 1, #rows, 2 do
  local at, what = string.match(rows[i + 1], '^(%d+) (.*)$')
  -- The server's clock can jump, back too: a beat from the future is an old one.
  if math.abs(now - tonumber(at)) > tonumber(gone_ms) then
    redis.call('HDEL', brokers, rows[i])
    redis.call('HDEL', serials, rows[i])
  else
    for _, value in ipairs({ rows[i], at, what }) do out[#out + 1] = value end
  end
end
return out
