#!lua flags=no-writes
-- uses _queue.lua _group.lua
-- Tell the members an inbox has now.  KEYS: none are known before.  ARGV: P, inbox.
return snapshot(ARGV[2])
