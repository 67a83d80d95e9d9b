-- Checks and applies one batch of transactions: all of them or, at the first that cannot be
-- applied, none. It says in Lua what ledger/ledger.py (check) and ledger/state.py (fold) say in
-- Python; the differential test holds them together.
--
-- KEYS: the five of redis_keys.FIXED, then one per node that the batch touches.
-- ARGV[1]: JSON, as store/redis_batch.py makes it; nodes are named by their place in KEYS.
-- Returns 'OK', or why nothing was changed.
--
-- Amounts are doubles here: exact, since no sum exceeds 2^53 (model/amounts.py, MAX_HELD).

local batch = cjson.decode(ARGV[1])

-- A hash with what this batch changes in it, written back only when all is accepted.
local function open(key)
  return { key = key, seen = {}, dirty = {}, emptied = false }
end

local function get(hash, field)
  local value = hash.seen[field]
  if value == nil then
    value = not hash.emptied and redis.call('HGET', hash.key, field)
    hash.seen[field] = value
  end
  return value
end

local function put(hash, field, value) -- false deletes
  hash.seen[field] = value
  hash.dirty[field] = true
end

local function empty(hash)
  hash.seen, hash.dirty, hash.emptied = {}, {}, true
end

local function text(value)
  return type(value) == 'number' and string.format('%.0f', value) or value
end

local CHUNK = 500 -- arguments of one call; Lua's stack holds some thousands
local function flush(hash)
  if hash.emptied then redis.call('DEL', hash.key) end
  local set, del = {}, {}
  for field in pairs(hash.dirty) do
    local value = hash.seen[field]
    if value == false then
      del[#del + 1] = field
    else
      set[#set + 1] = field
      set[#set + 1] = text(value)
    end
  end
  for i = 1, #set, CHUNK do
    redis.call('HSET', hash.key, unpack(set, i, math.min(i + CHUNK - 1, #set)))
  end
  for i = 1, #del, CHUNK do
    redis.call('HDEL', hash.key, unpack(del, i, math.min(i + CHUNK - 1, #del)))
  end
end

local meta, allocations, request_ids, agents, centers =
  open(KEYS[1]), open(KEYS[2]), open(KEYS[3]), open(KEYS[4]), open(KEYS[5])
local nodes = {}
local function node(place)
  local hash = nodes[place]
  if not hash then
    hash = open(KEYS[5 + place])
    nodes[place] = hash
  end
  return hash
end

for _, field in ipairs({ 'instance', 'identity', 'serial', 'revision' }) do
  local present = get(meta, field)
  if present ~= batch[field] then
    return 'STALE ' .. field .. ' is ' .. tostring(present) .. ', not ' .. batch[field]
  end
end

local function check_puts(tx)
  for _, row in ipairs(tx.puts) do
    local id, expected = row[1], row[2]
    local present = get(allocations, id)
    local revision = present and tonumber(string.match(present, '^(%d+) ')) or 0
    if revision ~= expected then
      return 'RECORD_CHANGED ' .. id .. ' is at ' .. revision .. ', not ' .. expected
    end
  end
  for _, row in ipairs(tx.bind) do
    if get(request_ids, row[1]) then return 'REQUEST_ID_TAKEN ' .. row[1] end
  end
end

local function release(row)
  local hash = node(row[1])
  if not get(hash, 'blockers') then return 'NODE_UNKNOWN ' .. hash.key end
  for _, pair in ipairs(row[2]) do
    local field = 'u:' .. pair[1]
    local left = (tonumber(get(hash, field)) or 0) - pair[2]
    if left < 0 then return 'OVER_RELEASED ' .. hash.key .. ' ' .. pair[1] end
    put(hash, field, left > 0 and left)
  end
end

local function reserve(row)
  local hash, forced = node(row[1]), row[3]
  local blockers = get(hash, 'blockers')
  if not blockers then return 'NODE_UNKNOWN ' .. hash.key end
  if not forced and tonumber(blockers) ~= 0 then return 'NOT_SCHEDULABLE ' .. hash.key end
  for _, pair in ipairs(row[2]) do
    local field = 'u:' .. pair[1]
    local used = (tonumber(get(hash, field)) or 0) + pair[2]
    local most = forced and batch.max_held or tonumber(get(hash, 'c:' .. pair[1])) or 0
    if used > most then
      return 'NO_FIT ' .. hash.key .. ' ' .. pair[1] .. ' ' .. text(used - most)
    end
    put(hash, field, used)
  end
end

local function check(tx)
  if get(meta, 'epoch') ~= tx.epoch then return 'EPOCH ' .. tostring(get(meta, 'epoch')) end
  local problem = check_puts(tx)
  -- Releases first: amounts that move away make room. Used amounts are written while they are
  -- checked, so that several on one node count together; a refusal throws all of it away.
  for _, row in ipairs(tx.release) do problem = problem or release(row) end
  for _, row in ipairs(tx.reserve) do problem = problem or reserve(row) end
  return problem
end

local function put_node(row)
  local hash, record = node(row[1]), row[2]
  if not record then return empty(hash) end
  put(hash, 'record', record)
  for key, amount in pairs(row[3]) do put(hash, 'c:' .. key, amount) end
  for _, key in ipairs(row[4]) do put(hash, 'c:' .. key, false) end
end

local function apply(tx)
  for _, row in ipairs(tx.nodes) do put_node(row) end
  for _, row in ipairs(tx.blockers) do put(node(row[1]), 'blockers', row[2]) end
  for _, row in ipairs(tx.messages) do put(node(row[1]), 'message', row[2]) end
  for _, row in ipairs(tx.agents) do put(agents, row[1], row[2]) end
  for _, row in ipairs(tx.centers) do put(centers, row[1], row[2]) end
  for _, row in ipairs(tx.puts) do
    local id, record, field = row[1], row[3], row[4]
    put(allocations, id, record)
    if field and get(request_ids, field) == id then put(request_ids, field, false) end
  end
  for _, row in ipairs(tx.bind) do put(request_ids, row[1], row[2]) end
  put(meta, 'revision', tx.revision)
  if tx.forgotten_through then put(meta, 'forgotten_through', tx.forgotten_through) end
  if tx.start then
    put(meta, 'epoch', tx.start[1])
    put(meta, 'epochs', tx.start[2])
  end
end

for at, tx in ipairs(batch.transactions) do
  local problem = check(tx)
  if problem then return problem .. ' (transaction ' .. at .. ')' end
  apply(tx)
end

put(meta, 'serial', batch.next_serial)
for _, hash in ipairs({ meta, allocations, request_ids, agents, centers }) do flush(hash) end
for _, hash in pairs(nodes) do flush(hash) end
return 'OK'
