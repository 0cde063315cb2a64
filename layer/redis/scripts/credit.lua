#!lua flags=allow-oom
-- uses _queue.lua
-- Tell an inbox that chunks of a single-reader channel at another place were taken.  KEYS: q, m of the inbox.
-- ARGV: P, inbox, local part, channel, how many, seconds for which that is of interest.
local now = time()
note(queue(ARGV[2]), 6, ARGV[3], cmsgpack.pack({ARGV[4], tonumber(ARGV[5])}), '', now + tonumber(ARGV[6]), now)
