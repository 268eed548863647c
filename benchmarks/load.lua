-- What wrk asks: `wrk --script load.lua URL -- OPERATION USERS THINK TOKEN`. THINK is the mean of a
-- client's pause between two requests, in milliseconds; TOKEN may be empty. One line of JSON tells
-- what came of it.

local ask, users, think, token

local function headers(more)
  local all = { Authorization = token ~= "" and "Bearer " .. token or nil }
  for name, value in pairs(more or {}) do
    all[name] = value
  end
  return all
end

local function get()
  return wrk.format("GET", "/users/" .. math.random(users), headers())
end

local function list()
  return wrk.format("GET", "/users", headers())
end

local function conditional()
  local tag = { ["If-None-Match"] = '"1"' }
  return wrk.format("GET", "/users/" .. math.random(users), headers(tag))
end

local created = 0
local seed = os.time() .. "-" .. tostring(wrk):match("0x(%x+)")
local function create()
  created = created + 1
  local body = '{"name":"Ada Lovelace","email":"' .. seed .. "-" .. created .. '@example.com"}'
  return wrk.format("POST", "/users", headers({ ["Content-Type"] = "application/json" }), body)
end

local asked = 0
local function mixed()
  asked = asked + 1
  local turn = asked % 10
  return turn == 0 and create() or turn == 5 and list() or get()
end

function init(arguments)
  local operations =
    { get = get, list = list, create = create, conditional = conditional, mixed = mixed }
  ask = operations[arguments[1]]
  users = tonumber(arguments[2])
  think = tonumber(arguments[3])
  token = arguments[4] or ""
  math.randomseed(os.time())
  if think > 0 then
    -- Clients that don't know of each other: their requests come at random moments.
    delay = function()
      return math.floor(-think * math.log(1 - math.random()) + 0.5)
    end
  end
end

function request()
  return ask()
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local form = '{"requests":%d,"seconds":%.6f,"failed":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n'
  local p50, p99 = latency:percentile(50) / 1000, latency:percentile(99) / 1000
  io.write(form:format(summary.requests, summary.duration / 1e6, failed, p50, p99))
end
