//! Importing real releases of Kafka, one upon the other: what the diffs say, what comes out, and what is refused.
//!
//! `tests/releases/` has the schemas of six releases as facts, in the canonical form: one text for each release, with the
//! files that differ from those of the release before. `tests/releases.sh` writes them from Kafka's own jars.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use codegen::import::{Report, import};

const RELEASES: [&str; 6] = ["3.7.2", "3.9.2", "4.0.2", "4.2.2", "4.3.1", "4.4.0"];

/// Names and texts.
type Files = BTreeMap<String, String>;

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The line before a file's text, and the one that says that a file is gone.
const FILE: &str = "// file ";
const GONE: &str = "// gone ";

/// The files of every release.
fn releases() -> BTreeMap<&'static str, Files> {
    let mut files = Files::new();
    let mut releases = BTreeMap::new();
    for release in RELEASES {
        let path = manifest(&format!("tests/releases/{release}.txt"));
        let text = fs::read_to_string(path).unwrap();
        let mut name = "";
        for line in text.lines() {
            if let Some(gone) = line.strip_prefix(GONE) {
                files.remove(gone).unwrap();
            } else if let Some(file) = line.strip_prefix(FILE) {
                name = file;
                files.insert(name.to_owned(), String::new());
            } else {
                writeln!(files.get_mut(name).unwrap(), "{line}").unwrap();
            }
        }
        releases.insert(release, files.clone());
    }
    releases
}

fn read(folder: &Path) -> Files {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// A folder that releases are imported into, and folders of releases.
struct Tree {
    root: tempfile::TempDir,
    releases: BTreeMap<&'static str, Files>,
}

impl Tree {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            releases: releases(),
        }
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("schemas")
    }

    fn import(&self, releases: &[&str]) -> Result<Report, String> {
        let mut sources = Vec::new();
        for &release in releases {
            let source = self.root.path().join(release);
            fs::create_dir_all(&source).unwrap();
            for (name, file) in &self.releases[release] {
                fs::write(source.join(name), file).unwrap();
            }
            sources.push(source);
        }
        import(&sources, &self.out()).map_err(|error| error.to_string())
    }

    /// A folder that holds the first `count` releases, which are imported one after the other only once.
    fn holding(count: usize) -> Self {
        let tree = Self::new();
        fs::create_dir(tree.out()).unwrap();
        for (name, text) in &chain()[count - 1].files {
            fs::write(tree.out().join(name), text).unwrap();
        }
        tree
    }
}

/// What a release changed, and what the folder held then.
struct Taken {
    changes: Vec<String>,
    files: Files,
}

/// All releases, imported one after the other.
fn chain() -> &'static [Taken] {
    static CHAIN: OnceLock<Vec<Taken>> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let tree = Tree::new();
        let take = |release| Taken {
            changes: tree.import(&[release]).unwrap().steps.remove(0).changes,
            files: read(&tree.out()),
        };
        RELEASES.into_iter().map(take).collect()
    })
}

/// The folder after all releases.
fn merged() -> &'static Files {
    &chain()[RELEASES.len() - 1].files
}

fn without_sources(mut files: Files) -> Files {
    let version = files.get_mut("VERSION").unwrap();
    let lines = version
        .lines()
        .map(|line| match line.strip_prefix("release ") {
            Some(release) => release.split(' ').next().unwrap(),
            None => line,
        });
    *version = lines.collect::<Vec<_>>().join("\n");
    files
}

/// Those lines of all releases that say `what`, with their release in front.
fn saying(what: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (release, taken) in RELEASES.iter().zip(chain()) {
        let found = taken.changes.iter().filter(|line| what(line));
        lines.extend(found.map(|line| format!("{release} {line}")));
    }
    lines
}

#[test]
fn all_releases_make_the_schemas_of_this_repository() {
    let expect = without_sources(read(&manifest("../schemas")));
    let found = without_sources(merged().clone());
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expect.keys().collect::<Vec<_>>()
    );
    for (name, text) in &expect {
        assert_eq!(found[name], *text, "{name}");
    }
}

#[test]
fn two_releases_are_enough_in_either_order() {
    let expect = read(&manifest("../schemas"));
    let check = |imports: &[&str]| {
        let tree = Tree::new();
        for &release in imports {
            tree.import(&[release]).unwrap();
        }
        let mut found = read(&tree.out());
        let version = found.remove("VERSION").unwrap();
        assert!(
            version.contains("\ndropped by 4.4.0 and kept here\n"),
            "{version}"
        );
        assert!(found.iter().all(|(name, text)| expect[name] == *text));
        assert_eq!(found.len() + 1, expect.len());
    };
    check(&["3.9.2", "4.4.0"]);
    check(&["4.4.0", "3.9.2"]);
}

#[test]
fn a_release_that_is_there_changes_nothing() {
    let tree = Tree::holding(6);
    let report = tree.import(&RELEASES).unwrap();
    for step in report.steps {
        assert_eq!(step.changes, Vec::<String>::new(), "{}", step.release);
    }
    assert!(read(&tree.out()) == *merged());
}

#[test]
fn renames_are_told_as_such() {
    assert_eq!(
        saying(|line| line.starts_with('=')),
        [
            "3.9.2 = CreateTopicsRequest.CreatableTopicConfig: struct was CreateableTopicConfig",
            "4.0.2 = VoteRequest.PartitionData.ReplicaDirectoryId: was CandidateDirectoryId",
            "4.0.2 = VoteRequest.PartitionData.ReplicaEpoch: was CandidateEpoch",
            "4.0.2 = VoteRequest.PartitionData.ReplicaId: was CandidateId",
            "4.2.2 = API 74 ListConfigResources: was ListClientMetricsResources",
            "4.2.2 = ListConfigResourcesResponse.ConfigResource.ResourceName: was Name",
            "4.2.2 = ListConfigResourcesResponse.ConfigResource: struct was ClientMetricsResource",
            "4.2.2 = ListConfigResourcesResponse.ConfigResources: was ClientMetricsResources",
            "4.4.0 = TxnOffsetCommitRequest.GenerationIdOrMemberEpoch: was GenerationId",
            "4.4.0 = StreamsGroupHeartbeatResponse.AcceptableRecoveryLagLegacy: was AcceptableRecoveryLag",
        ]
    );
}

#[test]
fn two_versions_changed_while_they_were_unstable_and_share_apis_lost_theirs() {
    assert_eq!(
        saying(|line| line.contains("changed, it was unstable")),
        [
            "3.9.2 ~ ConsumerGroupDescribeResponse: version 0 changed, it was unstable",
            "4.2.2 ~ ReadShareGroupStateSummaryResponse: version 0 changed, it was unstable",
        ]
    );
    assert_eq!(
        saying(|line| line.contains("was unstable, kept")),
        [
            "4.2.2 - API 76 ShareGroupHeartbeat: version 0 dropped, was unstable, kept here",
            "4.2.2 - API 77 ShareGroupDescribe: version 0 dropped, was unstable, kept here",
            "4.2.2 - API 78 ShareFetch: version 0 dropped, was unstable, kept here",
            "4.2.2 - API 79 ShareAcknowledge: version 0 dropped, was unstable, kept here",
        ]
    );
    assert_eq!(
        saying(|line| line.contains(" gone, ")),
        Vec::<String>::new()
    );
}

#[test]
fn the_versions_that_kafka_4_dropped() {
    let dropped = saying(|line| line.starts_with('-') && line.contains(" dropped, kept here"));
    let expect = [
        "RequestHeader: version 0",
        "API 0 Produce: versions 0-2",
        "API 1 Fetch: versions 0-3",
        "API 2 ListOffsets: version 0",
        "API 4 LeaderAndIsr: versions 0-7",
        "API 5 StopReplica: versions 0-4",
        "API 6 UpdateMetadata: versions 0-8",
        "API 7 ControlledShutdown: versions 0-3",
        "API 8 OffsetCommit: versions 0-1",
        "API 9 OffsetFetch: version 0",
        "API 19 CreateTopics: versions 0-1",
        "API 20 DeleteTopics: version 0",
        "API 23 OffsetForLeaderEpoch: versions 0-1",
        "API 27 WriteTxnMarkers: version 0",
        "API 29 DescribeAcls: version 0",
        "API 30 CreateAcls: version 0",
        "API 31 DeleteAcls: version 0",
        "API 32 DescribeConfigs: version 0",
        "API 34 AlterReplicaLogDirs: version 0",
        "API 35 DescribeLogDirs: version 0",
        "API 38 CreateDelegationToken: version 0",
        "API 39 RenewDelegationToken: version 0",
        "API 40 ExpireDelegationToken: version 0",
        "API 41 DescribeDelegationToken: version 0",
        "API 56 AlterPartition: versions 0-1",
    ];
    let expect: Vec<_> = expect
        .iter()
        .map(|it| format!("4.0.2 - {it} dropped, kept here"))
        .collect();
    assert_eq!(dropped, expect);

    // All of them are in the folder: 640 versions of 4.4.0, and those that went before.
    let version = &merged()["VERSION"];
    let (_, lists) = version.split_once("dropped by").unwrap();
    let count: usize = lists.lines().filter_map(range).sum();
    assert_eq!(count, 119);
    assert!(
        version.contains("  195 messages, 640 versions\n"),
        "{version}"
    );
    assert!(
        version.contains("merged 203 messages, 759 versions\n"),
        "{version}"
    );
}

/// How many versions a line `  Message 0-2` names.
fn range(line: &str) -> Option<usize> {
    let (_, range) = line.strip_prefix("  ")?.split_once(' ')?;
    let (lowest, highest) = range.split_once('-').unwrap_or((range, range));
    let (lowest, highest): (usize, usize) = (lowest.parse().unwrap(), highest.parse().unwrap());
    Some(highest - lowest + 1)
}

#[test]
fn what_is_new_in_the_newest_release() {
    let newest = &chain()[5].changes;
    let versions = |line: &&String| line.contains(": version") && line.starts_with('+');
    assert_eq!(
        newest
            .iter()
            .filter(|line| versions(line))
            .collect::<Vec<_>>(),
        [
            "+ AbortedTxn: version 0",
            "+ API 18 ApiVersions: version 5 added",
            "+ API 28 TxnOffsetCommit: version 6 added",
            "+ API 42 DeleteGroups: version 3 added",
            "+ API 88 StreamsGroupHeartbeat: version 1 added",
            "+ API 89 StreamsGroupDescribe: version 1 added",
            "+ API 93 StreamsGroupTopologyDescriptionUpdate: version 0",
            "+ API 94 UnregisterController: version 0",
        ]
    );
    // Fields that came, and one that is in older versions only.
    for line in [
        "+ ApiVersionsRequest.ClusterId: string, versions 5+, nullable in 5+, default null, ignorable",
        "+ ApiVersionsRequest.NodeId: int32, versions 5+, default -1, ignorable",
        "+ DeleteGroupsResponse.DeletableGroupResult.ErrorMessage: string, versions 3+, nullable in 3+, default null, ignorable",
        "~ TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic.Name: versions all -> versions 0-5",
    ] {
        assert!(newest.iter().any(|it| it == line), "{line} in {newest:#?}");
    }
    // The two-phase commit came as an unstable version, and still is one.
    assert_eq!(
        saying(|line| line.starts_with("+ API 22 ")),
        [
            "3.7.2 + API 22 InitProducerId: versions 0-4",
            "3.9.2 + API 22 InitProducerId: version 5 added",
            "4.2.2 + API 22 InitProducerId: version 6 added, unstable",
        ]
    );
}

/// Imports a release that says `to` where its file says `from`, upon the release before, which is refused.
#[track_caller]
fn refused(file: &str, from: &str, to: &str, expect: &str) {
    let mut tree = Tree::holding(5);
    let before = read(&tree.out());
    let text = tree
        .releases
        .get_mut("4.4.0")
        .and_then(|files| files.get_mut(file))
        .unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    *text = text.replace(from, to);
    let error = tree.import(&["4.4.0"]).unwrap_err();
    let step = format!(
        ". The bytes of a released version never change: make sure that the release is complete and Kafka's own; \
         to take its form all the same, remove schemas/{file} and import again"
    );
    let expect = format!("4.4.0/{file}: {expect}").replace("BEFORE", &format!("schemas/{file}"));
    assert_eq!(error, expect + &step);
    assert!(read(&tree.out()) == before, "something was written");
}

#[test]
fn a_changed_type_is_refused() {
    refused(
        "ListOffsetsResponse.json",
        r#""ErrorCode", "type": "int16""#,
        r#""ErrorCode", "type": "int32""#,
        "ListOffsetsPartitionResponse.ErrorCode: version 1 differs from BEFORE: \
         int32 against int16 `ListOffsetsPartitionResponse.ErrorCode`",
    );
}

#[test]
fn a_changed_nullability_is_refused() {
    refused(
        "DeleteTopicsRequest.json",
        r#" "nullableVersions": "6+", "default": "null","#,
        "",
        "DeleteTopicState.Name: version 6 differs from BEFORE: string against nullable string `DeleteTopicState.Name`",
    );
}

#[test]
fn a_moved_field_is_refused() {
    let line = |name: &str, kind: &str| {
        format!(r#"{{ "name": "{name}", "type": "{kind}", "versions": "0+" }},"#)
    };
    let (index, error) = (line("PartitionIndex", "int32"), line("ErrorCode", "int16"));
    refused(
        "ListOffsetsResponse.json",
        &format!("{index}\n        {error}"),
        &format!("{error}\n        {index}"),
        "ListOffsetsPartitionResponse.ErrorCode: version 1 differs from BEFORE: \
         int16 against int32 `ListOffsetsPartitionResponse.PartitionIndex`",
    );
    // Two of the same type look like a rename of both.
    let line = |name: &str| {
        format!(r#"{{ "name": "{name}", "type": "int64", "versions": "1+", "default": "-1" }},"#)
    };
    let (timestamp, offset) = (line("Timestamp"), line("Offset"));
    refused(
        "ListOffsetsResponse.json",
        &format!("{timestamp}\n        {offset}"),
        &format!("{offset}\n        {timestamp}"),
        "ListOffsetsPartitionResponse.Offset: version 1 differs from BEFORE: \
         it stands where `Timestamp` stood, so fields have changed places",
    );
}

#[test]
fn a_changed_range_of_a_field_is_refused() {
    refused(
        "ListOffsetsResponse.json",
        r#""LeaderEpoch", "type": "int32", "versions": "4+""#,
        r#""LeaderEpoch", "type": "int32", "versions": "5+""#,
        "ListOffsetsPartitionResponse.LeaderEpoch: version 4 differs from BEFORE: the field is missing",
    );
    refused(
        "ListOffsetsResponse.json",
        r#""LeaderEpoch", "type": "int32", "versions": "4+""#,
        r#""LeaderEpoch", "type": "int32", "versions": "3+""#,
        "ListOffsetsPartitionResponse.LeaderEpoch: version 3 differs from BEFORE: the field is new",
    );
}

#[test]
fn a_changed_tag_is_refused() {
    refused(
        "FetchRequest.json",
        r#""tag": 0, "taggedVersions": "12+", "default": "null""#,
        r#""tag": 9, "taggedVersions": "12+", "default": "null""#,
        "FetchRequest.ClusterId: version 12 differs from BEFORE: \
         tag 9 nullable string = null against tag 0 nullable string = null `FetchRequest.ClusterId`",
    );
}

#[test]
fn a_changed_default_of_a_tagged_field_is_refused() {
    refused(
        "FetchRequest.json",
        r#""default": "9223372036854775807""#,
        r#""default": "-1""#,
        "FetchPartition.HighWatermark: version 18 differs from BEFORE: \
         tag 1 int64 = -1 against tag 1 int64 = 9223372036854775807 `FetchPartition.HighWatermark`",
    );
}

#[test]
fn changed_flexible_versions_are_refused() {
    refused(
        "DeleteTopicsRequest.json",
        r#""flexibleVersions": "4+""#,
        r#""flexibleVersions": "5+""#,
        "DeleteTopicsRequest: version 4 differs from BEFORE: not flexible against flexible",
    );
}

#[test]
fn a_version_that_vanished_is_refused() {
    refused(
        "ListOffsetsResponse.json",
        r#""validVersions": "1-11""#,
        r#""validVersions": "1-10""#,
        "ListOffsetsResponse: version 11 of BEFORE has gone, and was not unstable",
    );
}

/// Imports a release that says `to` where its file says `from`, upon the release before.
fn changed(file: &str, from: &str, to: &str) -> Result<Vec<String>, String> {
    let mut tree = Tree::holding(5);
    let text = tree
        .releases
        .get_mut("4.4.0")
        .and_then(|files| files.get_mut(file))
        .unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    *text = text.replace(from, to);
    Ok(tree.import(&["4.4.0"])?.steps.remove(0).changes)
}

#[test]
fn an_unstable_version_may_change_and_facts_that_are_no_bytes() {
    let lines = changed(
        "InitProducerIdRequest.json",
        r#""Enable2Pc", "type": "bool", "versions": "6+", "default": "false""#,
        r#""Enable2Pc", "type": "string", "versions": "6+""#,
    )
    .unwrap();
    for line in [
        "~ InitProducerIdRequest: version 6 changed, it was unstable",
        "~ InitProducerIdRequest.Enable2Pc: bool -> string",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line} in {lines:#?}");
    }
    let lines = changed(
        "ListOffsetsResponse.json",
        r#""versions": "4+", "default": "-1""#,
        r#""versions": "4+", "default": "7", "ignorable": true"#,
    )
    .unwrap();
    for line in [
        "~ ListOffsetsResponse.ListOffsetsPartitionResponse.LeaderEpoch: default -1 -> default 7",
        "~ ListOffsetsResponse.ListOffsetsPartitionResponse.LeaderEpoch: not ignorable -> ignorable",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line} in {lines:#?}");
    }
}

#[test]
fn what_does_not_compile_is_refused() {
    assert_eq!(
        changed(
            "ListOffsetsResponse.json",
            r#""validVersions": "1-11""#,
            r#""validVersions": "1-12""#
        )
        .unwrap_err(),
        "the schemas do not compile: ListOffsetsResponse.json: ListOffsetsResponse: versions 0-12, but the request has 0-11"
    );
}
