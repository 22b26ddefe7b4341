#!/bin/sh
# with_secrets.sh COMMAND...: every secret whose file is called like an environment variable becomes that variable, for COMMAND
# alone: neither the compose file nor `docker inspect` shows it.
set -eu
for file in "${SECRETS_DIR:-/run/secrets}"/[A-Z]*; do
    if [ -f "$file" ]; then
        export "${file##*/}=$(cat "$file")"
    fi
done
# libpq takes no password file that others may read, and Kubernetes makes no other.
if [ -f "${PGPASSFILE:-}" ] && [ "$(stat --dereference --format=%a "$PGPASSFILE")" != 600 ]; then
    private=$(mktemp)
    cat "$PGPASSFILE" > "$private"
    export PGPASSFILE="$private"
fi
exec "$@"
