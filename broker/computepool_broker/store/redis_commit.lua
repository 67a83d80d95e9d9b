-- Judges one batch of transactions and applies those that hold: the one arbiter between brokers.
-- Each is applied whole or not at all. It says in Lua what ledger/ledger.py (check) and
-- ledger/state.py (fold) say in Python; the differential test holds them together.
--
-- KEYS: those of redis_keys.FIXED, then one per node that the batch names.
-- ARGV[1]: JSON: who asks and where it is (store/redis_batch.py, head).
-- ARGV[2]: JSON: the batch; nodes are named by their place in KEYS. It goes into the stream as it
-- came. Revisions below 0 count from the store's own: the planner cannot know that.
-- Returns { 'OK', id in the stream or '', revision before, revision after, rejections, entries of
-- others since the caller's place, the caller's serial }, or { 'BEHIND', why }: nothing was looked at.
--
-- Amounts are doubles here: exact, since no sum exceeds 2^53 (model/amounts.py, MAX_HELD).

local head, batch = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])

-- A hash with what this batch changes in it, written back at the end.
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

local undo = {} -- of the transaction that is being judged
local function put(hash, field, value) -- false deletes
  undo[#undo + 1] = { hash, field, get(hash, field), hash.dirty[field] }
  hash.seen[field] = value
  hash.dirty[field] = true
end

local function take_back()
  for i = #undo, 1, -1 do
    local hash, field, value, dirty = unpack(undo[i], 1, 4)
    hash.seen[field], hash.dirty[field] = value, dirty
  end
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

local FIXED = 8
local meta, allocations, request_ids, agents, centers, renewals, serials =
  open(KEYS[1]), open(KEYS[2]), open(KEYS[3]), open(KEYS[4]), open(KEYS[5]), open(KEYS[6]),
  open(KEYS[7])
local stream = KEYS[8]
local nodes = {}
local function node(place)
  local hash = nodes[place]
  if not hash then
    hash = open(KEYS[FIXED + place])
    nodes[place] = hash
  end
  return hash
end

-- Whether the caller knows this store as it is.
for _, field in ipairs({ 'schema', 'identity', 'server', 'term' }) do
  local present = get(meta, field)
  if present ~= head[field] then
    return { 'BEHIND', field .. ' is ' .. tostring(present) .. ', not ' .. head[field] }
  end
end
if get(serials, head.instance) ~= head.serial then
  return { 'BEHIND', 'serial is ' .. tostring(get(serials, head.instance)) }
end
if #redis.call('XRANGE', stream, head.place, head.place) == 0 then
  return { 'BEHIND', 'the stream has no ' .. head.place }
end
local others = redis.call('XRANGE', stream, '(' .. head.place, '+', 'COUNT', head.most + 1)
if #others > head.most then return { 'BEHIND', 'more than ' .. head.most .. ' entries' } end

local base = tonumber(get(meta, 'revision'))
local function revision(number) -- absolute, or counted from here
  return number < 0 and base - number or number
end

local function present_revision(id)
  local present = get(allocations, id)
  return present and tonumber(string.match(present, '^(%d+) ')) or 0
end

local function check_conditions(tx)
  for _, row in ipairs(tx.sessions or {}) do
    local agent = get(agents, row[1])
    local session = agent and tonumber(string.match(agent, '^(%d+) ')) or 0
    if session ~= row[2] then return 'SESSION ' .. row[1] end
  end
  for _, row in ipairs(tx.renew or {}) do
    if present_revision(row[1]) ~= revision(row[2]) then return 'RECORD_CHANGED ' .. row[1] end
  end
  for _, row in ipairs(tx.unrenewed or {}) do
    local count = tonumber(get(renewals, row[1]) or 0)
    if count ~= row[2] then return 'RENEWED ' .. row[1] .. ' - ' .. count end
  end
  for _, row in ipairs(tx.nodes or {}) do
    local hash = node(row[1])
    if not row[2] and tonumber(get(hash, 'leases') or 0) > 0 then
      return 'NODE_IN_USE ' .. hash.key
    end
  end
end

local function check_puts(tx)
  for _, row in ipairs(tx.puts or {}) do
    if present_revision(row[1]) ~= revision(row[2]) then return 'RECORD_CHANGED ' .. row[1] end
  end
  for _, row in ipairs(tx.bind or {}) do
    local holder = get(request_ids, row[1])
    if holder then return 'REQUEST_ID_TAKEN ' .. holder end
  end
end

local function count_lease(hash, by)
  put(hash, 'leases', (tonumber(get(hash, 'leases')) or 0) + by)
end

local function release(row)
  local hash = node(row[1])
  if not get(hash, 'record') then return 'NODE_UNKNOWN ' .. hash.key end
  for _, pair in ipairs(row[2]) do
    local field = 'u:' .. pair[1]
    local left = (tonumber(get(hash, field)) or 0) - pair[2]
    if left < 0 then return 'OVER_RELEASED ' .. hash.key .. ' ' .. pair[1] end
    put(hash, field, left > 0 and left)
  end
  count_lease(hash, -1)
end

local ACTIVE = '2' -- model/records.py, AgentState
local function blocked(hash)
  if tonumber(get(hash, 'blockers') or 0) ~= 0 then return true end
  if tonumber(get(hash, 'conflicts') or 0) > 0 then return true end
  local agent = get(agents, get(hash, 'agent'))
  local state, term = string.match(agent or '', '^%d+ (%d+) (%d+) ')
  if state ~= ACTIVE or term ~= head.term then return true end
  local center = get(centers, get(hash, 'center'))
  return center and string.sub(center, 1, 5) == '[true'
end

local function reserve(row)
  local hash, forced = node(row[1]), row[3]
  if not get(hash, 'record') then return 'NODE_UNKNOWN ' .. hash.key end
  if not forced and blocked(hash) then return 'NOT_SCHEDULABLE ' .. hash.key end
  for _, pair in ipairs(row[2]) do
    local field = 'u:' .. pair[1]
    local used = (tonumber(get(hash, field)) or 0) + pair[2]
    local most = forced and head.max_held or tonumber(get(hash, 'c:' .. pair[1])) or 0
    if used > most then
      return 'NO_FIT ' .. hash.key .. ' ' .. pair[1] .. ' ' .. text(used - most)
    end
    put(hash, field, used)
  end
  count_lease(hash, 1)
end

local function check(tx)
  if get(meta, 'epoch') ~= tx.epoch then return 'EPOCH ' .. tostring(get(meta, 'epoch')) end
  local problem = check_conditions(tx) or check_puts(tx)
  -- Releases first: amounts that move away make room. Used amounts are written while they are
  -- checked, so that several on one node count together; a refusal takes all of it back.
  for _, row in ipairs(tx.release or {}) do problem = problem or release(row) end
  for _, row in ipairs(tx.reserve or {}) do problem = problem or reserve(row) end
  return problem
end

local KEPT = 9 -- CORDONED and SUSPECT: a report changes the others (ledger/transaction.py, Blocker)
local function put_node(row)
  local hash, record = node(row[1]), row[2]
  if not record then
    hash.seen, hash.dirty, hash.emptied = {}, {}, true
    return
  end
  local keys = cjson.decode(get(hash, 'capacity') or '[]') -- those of the report before
  for _, key in ipairs(keys) do
    if not row[3][key] then put(hash, 'c:' .. key, false) end
  end
  keys = {}
  for key, amount in pairs(row[3]) do
    put(hash, 'c:' .. key, amount)
    keys[#keys + 1] = key
  end
  put(hash, 'capacity', #keys > 0 and cjson.encode(keys))
  put(hash, 'record', record)
  local kept = bit.band(tonumber(get(hash, 'blockers') or 0), KEPT)
  put(hash, 'blockers', bit.bor(kept, row[4]))
  put(hash, 'agent', row[5])
  put(hash, 'center', row[6])
end

local function put_agent(row)
  local name, session, state, record = unpack(row, 1, 4)
  if not record then return put(agents, name, false) end
  local present = get(agents, name)
  local old_state, old_term = string.match(present or '', '^%d+ (%d+) (%d+) ')
  local now = state ~= 0 and state .. ' ' .. head.term or (old_state or '3') .. ' ' .. (old_term or '0')
  put(agents, name, session .. ' ' .. now .. ' ' .. record)
end

local function block(row)
  local hash = node(row[1])
  if not get(hash, 'record') then return end
  local cleared = bit.band(tonumber(get(hash, 'blockers') or 0), bit.bnot(row[3]))
  put(hash, 'blockers', bit.bor(cleared, row[2]))
  if row[4] then put(hash, 'message', row[4] ~= '' and row[4]) end
end

local function put_allocation(row)
  local id, _, own, record, field, live = unpack(row, 1, 6)
  put(allocations, id, record and text(revision(own)) .. ' ' .. text(base) .. ' ' .. record)
  if field and get(request_ids, field) == id then put(request_ids, field, false) end
  if not live then put(renewals, id, false) end
end

local function apply(tx)
  for _, row in ipairs(tx.agents or {}) do put_agent(row) end
  for _, row in ipairs(tx.centers or {}) do put(centers, row[1], row[2]) end
  for _, row in ipairs(tx.nodes or {}) do put_node(row) end
  for _, row in ipairs(tx.blockers or {}) do block(row) end
  for _, row in ipairs(tx.conflicts or {}) do
    local hash = node(row[1])
    put(hash, 'conflicts', tonumber(get(hash, 'conflicts') or 0) + row[2])
  end
  for _, row in ipairs(tx.puts or {}) do put_allocation(row) end
  for _, row in ipairs(tx.bind or {}) do put(request_ids, row[1], row[2]) end
  for _, row in ipairs(tx.renew or {}) do
    put(renewals, row[1], tonumber(get(renewals, row[1]) or 0) + 1)
  end
  put(meta, 'revision', math.max(tonumber(get(meta, 'revision')), revision(tx.revision)))
  if tx.forgotten_through then
    local through = revision(tx.forgotten_through)
    put(meta, 'forgotten_through', math.max(tonumber(get(meta, 'forgotten_through') or 0), through))
  end
  if tx.start then
    put(meta, 'epoch', tx.start[1])
    put(meta, 'epochs', tx.start[2])
  end
end

local rejected, places, accepted = {}, {}, 0
for at, tx in ipairs(batch.transactions) do
  undo = {}
  local problem = check(tx)
  if problem then
    take_back()
    rejected[#rejected + 1] = at .. ' ' .. problem
    places[#places + 1] = at
  else
    apply(tx)
    accepted = accepted + 1
  end
end

-- To be waited for by WAIT or WAITAOF there must be something of the caller's own to wait for: what
-- others have written before is then waited for, too.
local id, serial = '', head.serial
if accepted > 0 or head.durable then
  serial = head.next_serial
  put(serials, head.instance, serial)
end
if accepted == 0 then
  flush(serials)
else
  for _, hash in ipairs({ meta, allocations, request_ids, agents, centers, renewals, serials }) do
    flush(hash)
  end
  for _, hash in pairs(nodes) do flush(hash) end
  id = redis.call('XADD', stream, 'MAXLEN', '~', head.keep, '*', 'broker', head.instance, 'base',
    text(base), 'rejected', table.concat(places, ','), 'batch', ARGV[2])
end
return { 'OK', id, text(base), text(tonumber(get(meta, 'revision'))), rejected, others, serial }
