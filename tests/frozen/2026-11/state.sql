CREATE SCHEMA frozen;
CREATE TABLE frozen.audit (
    seq bigint NOT NULL,
    at text NOT NULL,
    address text NOT NULL,
    entry text NOT NULL
);
CREATE TABLE frozen.clients (
    client text NOT NULL,
    mark bigint NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE frozen.intents (
    id text NOT NULL,
    seq bigint NOT NULL,
    address text NOT NULL,
    intent text NOT NULL
);
CREATE TABLE frozen.lock (
    id integer NOT NULL,
    owner text NOT NULL,
    token bigint NOT NULL,
    counter bigint NOT NULL,
    host text NOT NULL,
    boot_id text NOT NULL,
    pid bigint NOT NULL,
    started text NOT NULL,
    operation text NOT NULL,
    who text NOT NULL,
    run_url text NOT NULL,
    since text NOT NULL,
    CONSTRAINT lock_id_check CHECK ((id = 1))
);
CREATE TABLE frozen.meta (
    id integer NOT NULL,
    format integer NOT NULL,
    lineage text NOT NULL,
    serial bigint NOT NULL,
    url text NOT NULL,
    tenant text NOT NULL,
    data_set text NOT NULL,
    created text NOT NULL,
    tool_version text NOT NULL,
    fence bigint NOT NULL,
    CONSTRAINT meta_id_check CHECK ((id = 1))
);
CREATE TABLE frozen.plans (
    id text NOT NULL,
    applied text NOT NULL
);
CREATE TABLE frozen.records (
    address text NOT NULL,
    kind text NOT NULL,
    api text NOT NULL,
    remote_id text NOT NULL,
    record text NOT NULL
);
INSERT INTO frozen.audit VALUES (1, '2026-11-26T21:00:00.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:00.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-0","result":"done","run":"https://ci.example/runs/1","verb":"create","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (2, '2026-11-26T21:00:01.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:01.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-1","result":"settled by hand: absent","run":"https://ci.example/runs/1","verb":"create","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (3, '2026-11-26T21:00:02.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:02.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-2","result":"settled by hand: imported","run":"https://ci.example/runs/1","verb":"create","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (4, '2026-11-26T21:00:03.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:03.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-3","result":"not sent","run":"https://ci.example/runs/1","verb":"create","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (5, '2026-11-26T21:00:04.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:04.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-4","result":"failed","run":"https://ci.example/runs/1","verb":"update","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (6, '2026-11-26T21:00:05.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:05.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-5","result":"unknown","run":"https://ci.example/runs/1","verb":"update","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (7, '2026-11-26T21:00:06.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:06.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-6","result":"settled: done","run":"https://ci.example/runs/1","verb":"delete","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (8, '2026-11-26T21:00:07.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:07.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-7","result":"done","run":"https://ci.example/runs/1","verb":"seal","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (9, '2026-11-26T21:00:08.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:08.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-8","result":"done","run":"https://ci.example/runs/1","verb":"run","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (10, '2026-11-26T21:00:09.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:09.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-9","result":"settled by hand: job 41","run":"https://ci.example/runs/1","verb":"run","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (11, '2026-11-26T21:00:10.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:10.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-10","result":"done","run":"https://ci.example/runs/1","verb":"import","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (12, '2026-11-26T21:00:11.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:11.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-11","result":"done","run":"https://ci.example/runs/1","verb":"move to plugin/other","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (13, '2026-11-26T21:00:12.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:12.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-12","result":"done","run":"https://ci.example/runs/1","verb":"accept","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (14, '2026-11-26T21:00:13.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:13.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-13","result":"done","run":"https://ci.example/runs/1","verb":"forget","who":"somebody@build"}');
INSERT INTO frozen.audit VALUES (15, '2026-11-26T21:00:14.000000Z', 'storage/raw-data', '{"address":"storage/raw-data","at":"2026-11-26T21:00:14.000000Z","command":"apply","commit":"0123456789abcdef-dirty","digest":"sha256:8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c8c","dirty":["manifests/a.yaml","x y"],"plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","remote_id":"11","request_id":"req-14","result":"done","run":"https://ci.example/runs/1","verb":"stop","who":"somebody@build"}');
INSERT INTO frozen.clients VALUES ('9560f49e-4c38-42ab-a430-91f8e29fa0cc', 2, '2026-11-26 21:29:48.26364+00');
INSERT INTO frozen.intents VALUES ('11111111-0000-4000-8000-000000000001', 1, 'storage/archive', '{"address":"storage/archive","api":"v1","deadline":30.0,"depends_on":["storage/raw-data"],"digest":null,"fields":{"/configuration/password":{"$mac":"5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f","key_id":"k1"},"/name":"Archive"},"files":{},"id":"11111111-0000-4000-8000-000000000001","natural_key":"name=Archive","plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","protected":true,"remote_id":"","salt":"6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a","sent_at":"2026-11-26T21:00:00.000000Z","sent_up":{"boot":"3f0c boot","seconds":1234.5},"series":"","state":"open","verb":"create","version":""}');
INSERT INTO frozen.intents VALUES ('11111111-0000-4000-8000-000000000002', 2, 'storage/raw-data', '{"address":"storage/raw-data","api":"v1","deadline":0.0,"depends_on":[],"digest":null,"fields":{"/name":"Raw data 2"},"files":{},"id":"11111111-0000-4000-8000-000000000002","natural_key":"name=Raw data","plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","protected":false,"remote_id":"11","salt":"","sent_at":"","sent_up":{"boot":"","seconds":0.0},"series":"","state":"open","verb":"update","version":""}');
INSERT INTO frozen.intents VALUES ('11111111-0000-4000-8000-000000000003', 3, 'release/id=7@2.0.0', '{"address":"release/id=7@2.0.0","api":"v1","deadline":0.0,"depends_on":[],"digest":null,"fields":{},"files":{},"id":"11111111-0000-4000-8000-000000000003","natural_key":"","plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","protected":false,"remote_id":"7","salt":"","sent_at":"","sent_up":{"boot":"","seconds":0.0},"series":"","state":"open","verb":"delete","version":""}');
INSERT INTO frozen.intents VALUES ('11111111-0000-4000-8000-000000000004', 4, 'release/image-processing@1.0.0', '{"address":"release/image-processing@1.0.0","api":"v1","deadline":0.0,"depends_on":[],"digest":"pkg1:sha256:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a","fields":{},"files":{"config.yaml":"abababababababababababababababababababababababababababababababab"},"id":"11111111-0000-4000-8000-000000000004","natural_key":"code=image-processing@1.0.0","plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","protected":false,"remote_id":"rel-31","salt":"","sent_at":"","sent_up":{"boot":"","seconds":0.0},"series":"plugin/image-processing","state":"open","verb":"seal","version":"1.0.0"}');
INSERT INTO frozen.intents VALUES ('11111111-0000-4000-8000-000000000005', 5, 'release/image-processing@1.0.0', '{"address":"release/image-processing@1.0.0","api":"v1","deadline":0.0,"depends_on":[],"digest":"sha256:7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b","fields":{"/project_id":123},"files":{},"id":"11111111-0000-4000-8000-000000000005","natural_key":"","plan_id":"0c0ffee0-0000-4000-8000-0000000000aa","protected":false,"remote_id":"21","salt":"","sent_at":"","sent_up":{"boot":"","seconds":0.0},"series":"","state":"open","verb":"run","version":"1.0.0"}');
INSERT INTO frozen.meta VALUES (1, 1, '5f1c2d00-0000-4000-8000-00000000f402', 41, 'https://api.example', 'acme', 'd-1', '2026-11-26T21:29:48.157516Z', '', 7);
INSERT INTO frozen.plans VALUES ('0c0ffee0-0000-4000-8000-0000000000aa', '2026-11-26T21:00:00.000000Z');
INSERT INTO frozen.records VALUES ('storage/raw-data', 'storage', 'v1', '11', '{"accepted":{"applied":{"/name":"Older"},"paths":[["name"],["configuration","bucket"]],"seen":{"/name":"older"}},"address":"storage/raw-data","api":"v1","applied":{"/configuration/a~1b~0c":[1,1.5,null,true,{"$map":{"$odd":{"$float":"inf"}}}],"/configuration/bucket":"raw","/configuration/empty":{},"/configuration/secret_access_key":{"$mac":"3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d","key_id":"k1"},"/name":"Raw data"},"created_at":"2026-11-26T21:00:00.000000Z","depends_on":[],"digest":null,"files":{},"natural_key":"name=Raw data","protected":false,"proven":{},"remote_id":"11","salt":"4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e","seen":{"/configuration/gone":{"$absent":true},"/configuration/secret_access_key":{"$withheld":"masked"},"/name":"raw data"},"series":"","unkept":["description","labels"],"updated_at":"2026-11-26T21:00:07.500000Z","verification":null,"version":""}');
INSERT INTO frozen.records VALUES ('plugin/image-processing', 'plugin', 'v2', '21', '{"accepted":null,"address":"plugin/image-processing","api":"v2","applied":{"/code":"image-processing","/storage":{"$reference":"storage/raw-data"}},"created_at":"","depends_on":["storage/raw-data"],"digest":null,"files":{},"natural_key":"code=image-processing","protected":true,"proven":{},"remote_id":"21","salt":"","seen":{},"series":"","unkept":[],"updated_at":"","verification":null,"version":""}');
INSERT INTO frozen.records VALUES ('release/image-processing@1.0.0', 'release', 'v2', 'rel-31', '{"accepted":null,"address":"release/image-processing@1.0.0","api":"v2","applied":{"/changelog":"Gr\u00fc\u00dfe \ud83d\ude00 \ud800"},"created_at":"","depends_on":["plugin/image-processing","storage/raw-data"],"digest":"pkg1:sha256:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a","files":{"bin/run.sh":"abababababababababababababababababababababababababababababababab x","config.yaml":"abababababababababababababababababababababababababababababababab"},"natural_key":"code=image-processing@1.0.0","protected":false,"proven":{"at":"2026-11-26T21:00:07.500000Z","digest":"pkg1:sha256:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"},"remote_id":"rel-31","salt":"","seen":{},"series":"plugin/image-processing","unkept":[],"updated_at":"","verification":{"at":"2026-11-26T21:00:07.500000Z","digest":"pkg1:sha256:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a","job":"41","parameters":"sha256:1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b","result":"passed","signature":"k1:2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c"},"version":"1.0.0"}');
INSERT INTO frozen.records VALUES ('release/id=7@2.0.0', 'release', 'v1', '7', '{"accepted":null,"address":"release/id=7@2.0.0","api":"v1","applied":{},"created_at":"","depends_on":[],"digest":null,"files":{},"natural_key":"","protected":false,"proven":{},"remote_id":"7","salt":"","seen":{"/count":1208925819614629174706176},"series":"","unkept":[],"updated_at":"","verification":null,"version":""}');
ALTER TABLE ONLY frozen.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY frozen.clients
    ADD CONSTRAINT clients_pkey PRIMARY KEY (client);
ALTER TABLE ONLY frozen.intents
    ADD CONSTRAINT intents_pkey PRIMARY KEY (id);
ALTER TABLE ONLY frozen.intents
    ADD CONSTRAINT intents_seq_key UNIQUE (seq);
ALTER TABLE ONLY frozen.lock
    ADD CONSTRAINT lock_pkey PRIMARY KEY (id);
ALTER TABLE ONLY frozen.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (id);
ALTER TABLE ONLY frozen.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (id);
ALTER TABLE ONLY frozen.records
    ADD CONSTRAINT records_pkey PRIMARY KEY (address);
CREATE INDEX intents_address ON frozen.intents USING btree (address);
CREATE UNIQUE INDEX records_remote ON frozen.records USING btree (kind, api, remote_id);
