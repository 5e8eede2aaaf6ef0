CREATE TABLE user_stats (user_id text PRIMARY KEY, login_count bigint NOT NULL);
