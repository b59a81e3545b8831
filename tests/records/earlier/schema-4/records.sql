BEGIN TRANSACTION;
CREATE TABLE images (
    part_id INTEGER PRIMARY KEY REFERENCES parts (part_id),
    path TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    kind TEXT NOT NULL,
    keep_rank INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('kept', 'evicting', 'missing'))
) STRICT;
CREATE TABLE part_id_reservation (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    next_part_id INTEGER NOT NULL
, witness TEXT NOT NULL DEFAULT '') STRICT;
INSERT INTO "part_id_reservation" VALUES(1,9,'2eeab247-0576-4f43-bf09-3559d1520ba1 65024 2543052 1795858513274110813');
CREATE TABLE parts (
    part_id INTEGER PRIMARY KEY,
    start_id INTEGER NOT NULL REFERENCES starts (start_id),
    recipe_id INTEGER NOT NULL REFERENCES recipes (recipe_id),
    recorded_wall TEXT NOT NULL,
    clock_synchronized INTEGER NOT NULL,
    recorded_mono_ns INTEGER NOT NULL,
    trigger_mono_ns INTEGER NOT NULL,
    frame_mono_ns INTEGER,
    verdict_mono_ns INTEGER,
    deadline_mono_ns INTEGER,
    window_start_mono_ns INTEGER,
    window_end_mono_ns INTEGER,
    encoder_count INTEGER,
    verdict TEXT NOT NULL,
    defect_class TEXT NOT NULL,
    score REAL,
    doubt TEXT,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    gate_outcome TEXT NOT NULL,
    frame_sequence INTEGER,
    frame_exposure_mono_ns INTEGER,
    frame_arrived_mono_ns INTEGER,
    frame_exposure_us REAL,
    frame_gain REAL,
    frame_source TEXT,
    frame_view TEXT,
    scores TEXT,
    top_class TEXT,
    top_score REAL,
    order_statistics BLOB,
    worst_x_px INTEGER,
    worst_y_px INTEGER,
    worst_width_px INTEGER,
    worst_height_px INTEGER,
    quality_mean REAL,
    quality_clipped_low REAL,
    quality_clipped_high REAL,
    quality_focus REAL,
    preprocess_ns INTEGER,
    invoke_ns INTEGER,
    postprocess_ns INTEGER,
    quality_ns INTEGER, frame_exposure_error_ns INTEGER) STRICT;
INSERT INTO "parts" VALUES(1,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,1200000000,1220000000,1220001000,1700000000,2060000000,2140000000,11,'REJECT','pit',0.75,NULL,'pit','','reject_confirmed',8,1200000060,1200000070,500.0,1.5,'a.png','main','[0.375,0.75]','pit',0.75,X'020002000000003F0000803E0000403F0000003E',3,4,5,6,101.5,0.0,0.25,55.5,1,2,3,4,100);
INSERT INTO "parts" VALUES(2,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,1400000000,1420000000,1420002000,1900000000,2260000000,2340000000,22,'REVIEW','scratch',0.5,NULL,'scratch','','rejected',9,1400000060,1400000070,500.0,1.5,'a.png','main','[0.25,0.5]','pit',0.5,X'020002000000003F0000803E0000403F0000003E',3,4,5,6,101.5,0.0,0.25,55.5,1,2,3,4,200);
INSERT INTO "parts" VALUES(3,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,1600000000,1620000000,1620003000,2100000000,2460000000,2540000000,33,'CANNOT_INSPECT','',0.0,'late','late','verdict 3 ms late','rejected',10,1600000060,1600000070,500.0,1.5,'a.png','main',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,300);
INSERT INTO "parts" VALUES(4,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,1800000000,1820000000,1820004000,2300000000,2660000000,2740000000,44,'PASS','',0.125,NULL,'','','passed',11,1800000060,1800000070,500.0,1.5,'a.png','main','[0.0625,0.125]','pit',0.125,X'020002000000003F0000803E0000403F0000003E',3,4,5,6,101.5,0.0,0.25,55.5,1,2,3,4,400);
INSERT INTO "parts" VALUES(5,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,2000000000,2020000000,2020005000,2500000000,2860000000,2940000000,55,'REJECT','pit',0.75,NULL,'pit','','reject_confirmed',12,2000000060,2000000070,500.0,1.5,'a.png','main','[0.375,0.75]','pit',0.75,X'020002000000003F0000803E0000403F0000003E',3,4,5,6,101.5,0.0,0.25,55.5,1,2,3,4,500);
INSERT INTO "parts" VALUES(6,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,2200000000,2220000000,2220006000,2700000000,3060000000,3140000000,66,'REVIEW','scratch',0.5,NULL,'scratch','','rejected',13,2200000060,2200000070,500.0,1.5,'a.png','main','[0.25,0.5]','pit',0.5,X'020002000000003F0000803E0000403F0000003E',3,4,5,6,101.5,0.0,0.25,55.5,1,2,3,4,600);
INSERT INTO "parts" VALUES(7,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,2400000000,2420000000,2420007000,2900000000,3260000000,3340000000,77,'CANNOT_INSPECT','',0.0,'late','late','verdict 3 ms late','rejected',14,2400000060,2400000070,500.0,1.5,'a.png','main',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,700);
INSERT INTO "parts" VALUES(8,1,1,'2026-03-01T12:00:00.011000+00:00',1,5021500000,2600000000,2620000000,2620008000,3100000000,3460000000,3540000000,88,'PASS','',0.125,NULL,'','','passed',15,2600000060,2600000070,500.0,1.5,'a.png','main','[0.0625,0.125]','pit',0.125,X'020002000000003F0000803E0000403F0000003E',3,4,5,6,101.5,0.0,0.25,55.5,1,2,3,4,800);
CREATE TABLE recipes (
    recipe_id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    classes TEXT NOT NULL DEFAULT '[]',
    document TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO "recipes" VALUES(1,'d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1','["scratch", "pit"]','');
CREATE TABLE record_order (
    record_seq INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL
) STRICT;
INSERT INTO "record_order" VALUES(1,1);
INSERT INTO "record_order" VALUES(2,2);
INSERT INTO "record_order" VALUES(3,3);
INSERT INTO "record_order" VALUES(4,4);
INSERT INTO "record_order" VALUES(5,5);
INSERT INTO "record_order" VALUES(6,6);
INSERT INTO "record_order" VALUES(7,7);
INSERT INTO "record_order" VALUES(8,8);
CREATE TABLE retention (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    unnumbered_to INTEGER NOT NULL,
    pruned_through INTEGER NOT NULL,
    latest_pruned_wall TEXT NOT NULL,
    parts_pruned INTEGER NOT NULL,
    pruned_unsent INTEGER NOT NULL,
    pruned_for_space INTEGER NOT NULL
) STRICT;
INSERT INTO "retention" VALUES(1,0,0,'',0,0,0);
CREATE TABLE rollup_counts (
    hour_wall TEXT NOT NULL,
    recipe_id INTEGER NOT NULL REFERENCES recipes (recipe_id),
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    gate_outcome TEXT NOT NULL,
    parts INTEGER NOT NULL,
    PRIMARY KEY (hour_wall, recipe_id, verdict, reason, gate_outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_scores (
    hour_wall TEXT NOT NULL,
    recipe_id INTEGER NOT NULL REFERENCES recipes (recipe_id),
    class_index INTEGER NOT NULL,
    bin INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    PRIMARY KEY (hour_wall, recipe_id, class_index, bin)
) STRICT, WITHOUT ROWID;
CREATE TABLE starts (
    start_id INTEGER PRIMARY KEY,
    boot_id TEXT NOT NULL,
    started_wall TEXT NOT NULL,
    started_mono_ns INTEGER NOT NULL,
    clock_synchronized INTEGER NOT NULL,
    software_version TEXT NOT NULL,
    integrity TEXT NOT NULL,
    set_aside TEXT NOT NULL,
    uncovered_faults TEXT NOT NULL
) STRICT;
INSERT INTO "starts" VALUES(1,'2eeab247-0576-4f43-bf09-3559d1520ba1','2026-03-01T12:00:00.001000+00:00',5001500000,1,'0.1.0','new','','[]');
CREATE INDEX parts_not_passed ON parts (verdict) WHERE verdict <> 'PASS';
CREATE INDEX parts_by_wall ON parts (recorded_wall);
CREATE INDEX images_to_evict ON images (keep_rank, part_id) WHERE state = 'kept';
PRAGMA application_id = 1162432083;
PRAGMA user_version = 4;
COMMIT;
