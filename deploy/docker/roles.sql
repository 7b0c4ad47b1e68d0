-- A schema and a role for each service, with rights on nothing else but to make schemas: that of a sandbox is made by the service that works in
-- it. Run before every start (docker-compose.yml): what is there is kept, passwords become those of the environment.
\set ON_ERROR_STOP on
\set QUIET on
\getenv gateway GATEWAY_DATABASE_PASSWORD
\getenv vision VISION_DATABASE_PASSWORD
\getenv collector COLLECTOR_DATABASE_PASSWORD
\getenv trainer TRAINER_DATABASE_PASSWORD
\getenv rollout ROLLOUT_DATABASE_PASSWORD
\getenv reasoning REASONING_DATABASE_PASSWORD

SET client_min_messages = warning;
BEGIN;
CREATE TEMPORARY TABLE service (name text, role text, password text) ON COMMIT DROP;
INSERT INTO service
SELECT name, 'savo_' || name, password
FROM (VALUES
    ('gateway', :'gateway'),
    ('vision', :'vision'),
    ('collector', :'collector'),
    ('trainer', :'trainer'),
    ('rollout', :'rollout'),
    ('reasoning', :'reasoning')
) AS login (name, password);

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;

SELECT format('CREATE ROLE %I', role) FROM service WHERE role NOT IN (SELECT rolname FROM pg_roles) \gexec
SELECT format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD %L', role, password) FROM service \gexec
SELECT format('GRANT CONNECT, CREATE ON DATABASE %I TO %I', current_database(), role) FROM service \gexec
SELECT format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', name, role) FROM service \gexec
COMMIT;
