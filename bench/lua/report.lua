-- Prints what was measured as one line of JSON; latencies in microseconds.
local FORMAT = '{"requests":%d,"seconds":%.6f,"bytes":%d,"errors":%d,"refused":%d,'
  .. '"mean":%.1f,"p50":%d,"p90":%d,"p99":%d,"max":%d}\n'

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(FORMAT:format(
    summary.requests, summary.duration / 1e6, summary.bytes,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency.mean, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency.max))
end
