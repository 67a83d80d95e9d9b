-- A broker enters the store: after each connection to its server, and before any commit over it.
-- Makes the store where there is none; begins a new term where continuity is in doubt.
--
-- KEYS: the meta hash, the stream, the serials.
-- ARGV: schema; the server's run_id; the broker's instance; identity for a store to be made; and
-- what the caller last knew of the store (empty at its start): identity, epoch, revision, place in
-- the stream.
-- Returns { identity, epoch, term, serial of the caller, why a new term has begun or '' }.
--
-- A term belongs to one server process. A promoted replica, or a server that was started again
-- from its log, may lack the last commits, and cannot know it. So the epoch is raised, and no agent
-- is active until it has reported anew (rules 17 to 19).

local schema, server, instance, fresh, identity, epoch, revision, place = unpack(ARGV)
local meta, stream, serials = KEYS[1], KEYS[2], KEYS[3]

local function raise(to, why)
  redis.call('HSET', meta, 'epoch', string.format('%.0f', to), 'server', server)
  redis.call('HINCRBY', meta, 'term', 1)
  redis.call('XADD', stream, '*', 'term', redis.call('HGET', meta, 'term'))
  return why
end

local function make()
  redis.call('HSET', meta, 'schema', schema, 'identity', fresh, 'epoch', '1', 'epochs', '{}',
    'revision', '0', 'server', server, 'term', '0')
  if identity == '' then return raise(1, '') end
  return raise(tonumber(epoch) + 1, 'the store is gone')
end

-- Whether the store lacks what the caller has seen of it.
local function went_back()
  if redis.call('HGET', meta, 'identity') ~= identity then
    return tonumber(redis.call('HGET', meta, 'epoch')) <= tonumber(epoch)
  end
  local present = tonumber(redis.call('HGET', meta, 'epoch'))
  if present ~= tonumber(epoch) then return present < tonumber(epoch) end
  if tonumber(redis.call('HGET', meta, 'revision')) < tonumber(revision) then return true end
  if #redis.call('XRANGE', stream, place, place) == 1 then return false end
  -- Older than all entries: it was trimmed away, and says nothing.
  return redis.call('XLEN', stream) == 0 or #redis.call('XRANGE', stream, '-', place, 'COUNT', 1) > 0
end

local function doubt()
  local why
  if redis.call('HGET', meta, 'server') ~= server then
    why = 'another server process holds the store now'
  elseif identity ~= '' and went_back() then
    why = 'the store was put back to an older copy'
  else
    return ''
  end
  local present = redis.call('HGET', meta, 'epoch')
  local epochs = cjson.decode(redis.call('HGET', meta, 'epochs'))
  epochs[present] = tonumber(redis.call('HGET', meta, 'revision'))
  redis.call('HSET', meta, 'epochs', cjson.encode(epochs))
  return raise(math.max(tonumber(present), tonumber(epoch) or 0) + 1, why)
end

local why
if redis.call('EXISTS', meta) == 0 then why = make() else why = doubt() end
local serial = redis.call('HINCRBY', serials, instance, 1)
local is = redis.call('HMGET', meta, 'identity', 'epoch', 'term')
return { is[1], is[2], is[3], tostring(serial), why }
