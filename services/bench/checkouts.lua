-- The load as wrk sends it: one shopper after the other checks out, each checkout under a name of its own.
-- Writes down the order id of every 201. One thread only: the number of a checkout names it.
-- After `--`: file of tokens, file of bodies, file for the ids, file for the report, number to begin after, mean think
-- time (ms)
-- services/bench/shoppers.py knows which user, body and key the checkout of a number has.

local threads = {}
local users, bodies = {}, {}
local number, first = 0, 0
local answered

submitted, created, duplicates, refused, last_refusal, report_to = 0, 0, 0, 0, "", ""

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  for token in io.lines(arguments[1]) do
    users[#users + 1] = "POST /api/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" ..
      "Authorization: Bearer " .. token .. "\r\nIdempotency-Key: "
  end
  for body in io.lines(arguments[2]) do
    bodies[#bodies + 1] = "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  end
  answered = assert(io.open(arguments[3], "w"))
  answered:setvbuf("full", 65536)
  report_to, first = arguments[4], tonumber(arguments[5])
  number = first
  local think = tonumber(arguments[6])
  if think > 0 then
    math.randomseed(os.time())
    function delay()
      return math.floor(math.random() * 2 * think + 0.5) -- no lockstep
    end
  end
end

function request()
  local user, body = number % #users + 1, math.floor(number / #users) % #bodies + 1
  number = number + 1
  submitted = number - first
  return users[user] .. "checkout-" .. number .. bodies[body]
end

function response(status, headers, body)
  if status == 201 then
    created = created + 1
    answered:write(body:match('"id":"([^"]+)"'), "\n")
  elseif status == 200 then
    duplicates = duplicates + 1
  else
    refused = refused + 1
    last_refusal = status .. " " .. body:sub(1, 200)
  end
end

function done(summary, latency)
  local thread = threads[1]
  local report = assert(io.open(thread:get("report_to"), "w"))
  local function tell(name, value)
    report:write(name, " ", tostring(value), "\n")
  end
  for _, name in ipairs({"submitted", "created", "duplicates", "refused", "last_refusal"}) do
    tell(name, thread:get(name))
  end
  tell("duration_us", summary.duration)
  tell("p50_us", latency:percentile(50))
  tell("p99_us", latency:percentile(99))
  tell("max_us", latency.max)
  tell("connect", summary.errors.connect)
  tell("broken", summary.errors.read + summary.errors.write)
  tell("timeouts", summary.errors.timeout)
  report:close()
end
