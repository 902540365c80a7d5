-- Flushes a keyspace, all at once or not at all: nothing else runs on the server meanwhile.
-- KEYS: our mark, the hold of people. ARGV: run_id, deadline (microseconds of the server's clock), most keys, prefix or '', seconds the mark stays.
local mark, hold = KEYS[1], KEYS[2]
local run, deadline, most, prefix, stays = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

local function info(section, name)
  return string.match(redis.call('INFO', section), '\n' .. name .. ':([^\r\n]*)')
end

if redis.call('EXISTS', mark) == 1 then return {'again'} end
local now = redis.call('TIME')
if tonumber(now[1]) * 1000000 + tonumber(now[2]) > deadline then return {'refused', 'the call came too late'} end
if redis.call('EXISTS', hold) == 1 then return {'refused', 'the key ' .. hold .. ' has been set'} end
if info('server', 'run_id') ~= run then return {'refused', 'another process answers than the one that was looked at'} end
if info('replication', 'role') ~= 'master' then return {'refused', 'the server has become a replica'} end
local size = redis.call('DBSIZE')
if size > most then return {'refused', 'the database has grown to ' .. size .. ' keys'} end

local keys = {}
if prefix ~= '' then
  local cursor = '0'
  repeat
    local page = redis.call('SCAN', cursor, 'MATCH', prefix .. '*', 'COUNT', 1000)
    cursor = page[1]
    for _, key in ipairs(page[2]) do keys[#keys + 1] = key end
  until cursor == '0'
  size = #keys
end
if size == 0 then return {'refused', 'there are no such keys any more'} end

-- May the mark be set at all? A server that is out of memory refuses, until something was removed: then it is set afterwards.
local begun = redis.pcall('SET', mark, 'begun', 'EX', stays)
if begun.err and not string.find(begun.err, 'OOM', 1, true) then return redis.error_reply(begun.err) end

local gone, failed = 0, nil
if prefix == '' then
  local answer = redis.pcall('FLUSHDB', 'ASYNC')
  if answer.err then failed = answer.err else gone = size end
else
  for first = 1, #keys, 500 do
    local answer = redis.pcall('UNLINK', unpack(keys, first, math.min(first + 499, #keys)))
    if type(answer) == 'table' then failed = answer.err break end
    gone = gone + answer
  end
end
if failed and gone == 0 then
  redis.pcall('DEL', mark)
  return redis.error_reply(failed)
end
local word = failed and 'stopped' or 'done'
redis.pcall('SET', mark, word .. ' ' .. gone .. ' ' .. (failed or ''), 'EX', stays)
return {word, gone}
