#!lua flags=allow-oom
-- Drop a blob that nobody holds; _blobs.lua has the data model.  KEYS: b of the blob, loose, totals.  ARGV: P, the blob's key.  Returns 1, or 0 if somebody holds it, or it is gone.
local P = ARGV[1]
-- uses _blobs.lua
if not redis.call('ZSCORE', KEYS[2], ARGV[2]) then return 0 end
drop_blob(ARGV[2])
return 1
