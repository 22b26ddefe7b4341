#!/bin/sh
# databases.sh save FOLDER | restore FOLDER: all databases of the team's PostgreSQL, one file each (pg_dump's own format).
# `restore` replaces what is there; the roles and their passwords come from roles.sh and the secrets. Stop MLflow and Prefect before.
set -eu
action=$1 folder=$2
for name in mlflow mlflow_auth prefect; do
    case $action in
    save)
        pg_dump --format=custom --no-password --file="$folder/$name.dump.unfinished" "$name"
        mv "$folder/$name.dump.unfinished" "$folder/$name.dump"
        ;;
    restore)
        pg_restore --clean --if-exists --exit-on-error --single-transaction --no-password --dbname="$name" "$folder/$name.dump"
        ;;
    *)
        echo "error: save or restore, not $action" >&2
        exit 2
        ;;
    esac
    echo "$name: $action done"
done
