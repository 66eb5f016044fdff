#!/bin/sh
# Starts Redis with the one user of the application. Its password comes from REDIS_PASSWORD and is kept as a hash in
# memory alone. The user cannot empty, reconfigure or stop the server: the stream holds orders that no table has yet.
set -eu
: "${REDIS_PASSWORD:?must be set}"
umask 077
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)
cat > /run/redis/users.acl <<END
user default off
user tillroll on #$hash ~* resetchannels +@all -@admin -@dangerous +info +config|get
END
unset REDIS_PASSWORD
exec redis-server /etc/tillroll/redis.conf
