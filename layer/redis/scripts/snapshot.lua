#!lua flags=no-writes
-- uses _queue.lua _group.lua
-- Tell the members an inbox has now.  KEYS: none are known before.  ARGV: P, inbox.
-- Returns {sequence so far, group, local part, sequence of its last add, since when, packed info or "", …}.
return snapshot(ARGV[2])
