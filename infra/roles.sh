#!/bin/sh
# Once, in an empty PostgreSQL: a role with a password and databases of its own for each server; nobody else may connect to them.
set -eu
make_role() {
    NAME=$1 PASSWORD=$(cut -d: -f5 "${SECRETS_DIR:-/run/secrets}/$1.pgpass") \
        psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
\getenv name NAME
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
SQL
}
make_database() {
    psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres \
        --set=owner="$1" --set=name="$2" <<'SQL'
CREATE DATABASE :"name" OWNER :"owner";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}
make_role mlflow
make_role prefect
make_database mlflow mlflow
make_database mlflow mlflow_auth
make_database prefect prefect
