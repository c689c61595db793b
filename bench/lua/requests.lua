-- Sends the requests of a file, one a line (`GET /lookup/1`, `POST /purchase/1`), round and round.
-- Each POST buys one copy under a key of its own. Only the keys are made while the load runs.
-- Arguments: the file, the host, the name of the run, the line to begin after.

local GET = "%s HTTP/1.1\r\nHost: %s\r\n\r\n"
local POST = "%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
  .. "Content-Length: 14\r\nIdempotency-Key: %s-"
local BODY = '\r\n\r\n{"quantity":1}'

local heads, buys, at, sent = {}, {}, 0, 0

function init(args)
  for line in io.lines(args[1]) do
    local is_buy = line:sub(1, 4) == "POST"
    heads[#heads + 1] = (is_buy and POST or GET):format(line, args[2], args[3])
    buys[#heads] = is_buy
  end
  at = tonumber(args[4]) % #heads
end

function request()
  at = at % #heads + 1
  if not buys[at] then return heads[at] end
  sent = sent + 1
  return heads[at] .. sent .. BODY
end
