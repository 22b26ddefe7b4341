#!/bin/sh
# databases.sh save FOLDER | restore FOLDER: all databases of the team's PostgreSQL, one file each (pg_dump's own format).
# `restore` replaces all that is there, newer tables included; the roles and their passwords come from roles.sh and the secrets. Stop MLflow and Prefect before.
set -eu
umask 077
action=$1 folder=$2
for name in mlflow mlflow_auth prefect; do
    case $action in
    save)
        pg_dump --format=custom --no-password --file="$folder/$name.dump.unfinished" "$name"
        mv "$folder/$name.dump.unfinished" "$folder/$name.dump"
        ;;
    restore)
        pg_restore --list "$folder/$name.dump" > /dev/null # it is one
        psql --quiet --no-psqlrc --no-password --set=ON_ERROR_STOP=1 --single-transaction --dbname="$name" \
            --command='SET client_min_messages = warning' --command='DROP SCHEMA public CASCADE' \
            --command='CREATE SCHEMA public AUTHORIZATION pg_database_owner' --command='GRANT USAGE ON SCHEMA public TO PUBLIC'
        pg_restore --exit-on-error --single-transaction --no-password --dbname="$name" "$folder/$name.dump"
        ;;
    *)
        echo "error: save or restore, not $action" >&2
        exit 2
        ;;
    esac
    echo "$name: $action done"
done
