//! Settings that are given while brokers run: those of brokers, groups and topics, and the list of names that settings can
//! have, by which the database checks what is given by SQL. What settings mean is the broker's.

use tokio_postgres::Transaction;

use crate::{Result, Store};

/// Settings of brokers and groups, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Broker, name and value; broker -1 is all of them.
    pub brokers: Vec<(i32, String, String)>,
    /// Group, name and value.
    pub groups: Vec<(String, String, String)>,
    /// Feature, level and the epoch of its last change, of those that were changed.
    pub features: Vec<(String, i16, i64)>,
}

/// Whose settings are changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsOwner {
    /// The topic with this [`crate::Topic::id`].
    Topic(i32),
    /// The broker with this number; -1 is all of them.
    Broker(i32),
    /// The group with this name.
    Group(String),
}

/// A change of one owner's settings. A name must not be in both lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsChange {
    /// Whose.
    pub owner: SettingsOwner,
    /// Names and the values they get.
    pub set: Vec<(String, String)>,
    /// Names that lose their value.
    pub unset: Vec<String>,
}

/// One row of the list of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingName {
    /// `topic`, `broker` or `group`.
    pub scope: &'static str,
    /// Name.
    pub name: &'static str,
    /// `boolean`, `string`, `int`, `short`, `long`, `double`, `list` or `password`.
    pub kind: &'static str,
    /// What holds where nobody gives a value.
    pub default_value: Option<String>,
    /// Least number.
    pub least: Option<f64>,
    /// Largest number.
    pub most: Option<f64>,
    /// A number outside of the two that is allowed as well.
    pub also: Option<f64>,
    /// The words it takes; `None` for any.
    pub words: Option<Vec<&'static str>>,
    /// Whether it can be changed while brokers run.
    pub is_dynamic: bool,
    /// What it is for.
    pub documentation: &'static str,
}

const BROKERS: &str =
    "select node_id, name, value from kafka.broker_settings order by node_id, name";
const GROUPS: &str =
    "select group_id, name, value from kafka.group_settings order by group_id, name";
const FEATURES: &str = "select name, level, epoch from kafka.features order by name";
const SET_FEATURES: &str = "insert into kafka.features (name, level) \
     select u.name, u.level from unnest($1::text[], $2::int2[]) u (name, level) \
     on conflict (name) do update set level = excluded.level, epoch = default";
const OF_TOPIC: &str = "select s.name, s.value from kafka.topics t \
     left join kafka.topic_settings s on s.topic = t.id where t.id = $1 order by s.name collate \"C\"";

/// The statements that set and unset one owner's settings; `$1` is the owner.
const fn statements(owner: &SettingsOwner) -> (&'static str, &'static str) {
    match owner {
        // Nothing for a topic that is gone.
        SettingsOwner::Topic(_) => (
            "insert into kafka.topic_settings (topic, name, value) \
             select t.id, u.name, u.value from unnest($2::text[], $3::text[]) u (name, value) \
             join (select id from kafka.topics where id = $1 for key share) t on true \
             on conflict (topic, name) do update set value = excluded.value",
            "delete from kafka.topic_settings where topic = $1 and name = any($2::text[])",
        ),
        SettingsOwner::Broker(_) => (
            "insert into kafka.broker_settings (node_id, name, value) \
             select $1, u.name, u.value from unnest($2::text[], $3::text[]) u (name, value) \
             on conflict (node_id, name) do update set value = excluded.value",
            "delete from kafka.broker_settings where node_id = $1 and name = any($2::text[])",
        ),
        SettingsOwner::Group(_) => (
            "insert into kafka.group_settings (group_id, name, value) \
             select $1, u.name, u.value from unnest($2::text[], $3::text[]) u (name, value) \
             on conflict (group_id, name) do update set value = excluded.value",
            "delete from kafka.group_settings where group_id = $1 and name = any($2::text[])",
        ),
    }
}

const LOCK_NAMES: &str = "lock table kafka.setting_names in exclusive mode";
const FORGET_NAMES: &str = "delete from kafka.setting_names n where not exists \
     (select from unnest($1::text[], $2::text[]) u (scope, name) where (u.scope, u.name) = (n.scope, n.name))";
const NOTE_NAMES: &str = "insert into kafka.setting_names as n \
     (scope, name, type, default_value, least, most, also, words, is_dynamic, documentation) \
     select u.scope, u.name, u.type, u.default_value, u.least, u.most, u.also, string_to_array(u.words, ','), u.is_dynamic, u.documentation \
     from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::float8[], $7::float8[], $8::text[], $9::bool[], $10::text[]) \
         u (scope, name, type, default_value, least, most, also, words, is_dynamic, documentation) \
     on conflict (scope, name) do update set \
         (type, default_value, least, most, also, words, is_dynamic, documentation) = (excluded.type, excluded.default_value, \
          excluded.least, excluded.most, excluded.also, excluded.words, excluded.is_dynamic, excluded.documentation) \
     where (n.type, n.default_value, n.least, n.most, n.also, n.words, n.is_dynamic, n.documentation) is distinct from \
         (excluded.type, excluded.default_value, excluded.least, excluded.most, excluded.also, excluded.words, \
          excluded.is_dynamic, excluded.documentation)";

impl Store {
    /// The settings of all brokers and groups, and levels of features.
    pub async fn load_settings(&self) -> Result<ClusterSettings> {
        let client = self.client().await?;
        let brokers = client.query(BROKERS, &[]).await?;
        let groups = client.query(GROUPS, &[]).await?;
        let features = client.query(FEATURES, &[]).await?;
        Ok(ClusterSettings {
            features: features
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2)))
                .collect(),
            brokers: brokers
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2)))
                .collect(),
            groups: groups
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2)))
                .collect(),
        })
    }

    /// Gives features these levels.
    pub async fn set_features(&self, levels: &[(&str, i16)]) -> Result<()> {
        let (names, levels): (Vec<&str>, Vec<i16>) = levels.iter().copied().unzip();
        let client = self.client().await?;
        client.execute(SET_FEATURES, &[&names, &levels]).await?;
        Ok(())
    }

    /// The settings of the topic with this id, by name; `None` if there is none.
    pub async fn topic_settings(&self, id: i32) -> Result<Option<Vec<(String, String)>>> {
        let client = self.client().await?;
        let rows = client.query(OF_TOPIC, &[&id]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        // A topic without settings is one row without a name.
        let setting = |row: &tokio_postgres::Row| Some((row.get::<_, Option<_>>(0)?, row.get(1)));
        Ok(Some(rows.iter().filter_map(setting).collect()))
    }

    /// Makes the changes in one transaction. A topic that is gone is passed over.
    pub async fn change_settings(&self, changes: &[SettingsChange]) -> Result<()> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        for change in changes {
            apply(&transaction, change).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Makes `names` the list of settings that there are, by which the database checks what is given by SQL.
    pub async fn note_setting_names(&self, names: &[SettingName]) -> Result<()> {
        let column = |of: fn(&SettingName) -> &str| names.iter().map(of).collect::<Vec<&str>>();
        let scopes = column(|name| name.scope);
        let texts = column(|name| name.name);
        let kinds = column(|name| name.kind);
        let documentations = column(|name| name.documentation);
        let defaults: Vec<Option<&str>> = names
            .iter()
            .map(|name| name.default_value.as_deref())
            .collect();
        let number = |of: fn(&SettingName) -> Option<f64>| names.iter().map(of).collect::<Vec<_>>();
        let (least, most) = (number(|name| name.least), number(|name| name.most));
        let also = number(|name| name.also);
        let words: Vec<Option<String>> = names
            .iter()
            .map(|name| name.words.as_ref().map(|words| words.join(",")))
            .collect();
        let dynamic: Vec<bool> = names.iter().map(|name| name.is_dynamic).collect();
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(LOCK_NAMES).await?;
        transaction
            .execute(FORGET_NAMES, &[&scopes, &texts])
            .await?;
        transaction
            .execute(
                NOTE_NAMES,
                &[
                    &scopes,
                    &texts,
                    &kinds,
                    &defaults,
                    &least,
                    &most,
                    &also,
                    &words,
                    &dynamic,
                    &documentations,
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

async fn apply(transaction: &Transaction<'_>, change: &SettingsChange) -> Result<()> {
    let (set, unset) = statements(&change.owner);
    let owner: &(dyn tokio_postgres::types::ToSql + Sync) = match &change.owner {
        SettingsOwner::Topic(id) | SettingsOwner::Broker(id) => id,
        SettingsOwner::Group(group_id) => group_id,
    };
    if !change.unset.is_empty() {
        transaction.execute(unset, &[owner, &change.unset]).await?;
    }
    if !change.set.is_empty() {
        let (names, values): (Vec<&str>, Vec<&str>) = change
            .set
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .unzip();
        transaction.execute(set, &[owner, &names, &values]).await?;
    }
    Ok(())
}
