//! A folder of policies: `global/*.toml` for everybody, `<domain>/*.toml` for the teams of a domain; conditions are compiled while they
//! are read, so that whatever is wrong is told with file, line and column before anything is judged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::packs::{Pack, pack};
use super::policy_files::{File, WHAT_TO_NAME, files, no_folder};
use super::prices::date;
use super::problem::{Place, Problem};
use super::read::{Notes, Section, integer, text, wrong_kind};
use super::tree::{Item, Value};
use super::units::Complaint;
use crate::model::Text;
use crate::model::alert::Severity;
use crate::model::near::did_you_mean;
use crate::policy::domains::AiDomains;
use crate::policy::fields::Subject;
use crate::policy::regions::Regions;
use crate::policy::{Condition, Domain, Exemption, Given, Message, Mode, Policies, Policy, Sample, Sets, text_set};
use crate::watch::access::rules as access;
use crate::watch::drift;

/// Cloud regions and their countries.
pub const REGIONS: &str = include_str!("../../config/regions.csv");

/// Hosts of providers of artificial intelligence.
pub const AI_DOMAINS: &str = include_str!("../../config/ai_domains.csv");

const FORMAT_VERSION: i64 = 1;

/// Policies that can be used, and what belongs to them.
#[derive(Clone, Debug, Default)]
pub struct PolicyFolder {
    pub policies: Policies,
    /// Where each policy stands, in their order.
    pub places: Vec<Place>,
    /// Lists that conditions name, by domain; those of the empty name are everybody's, and part of each.
    pub sets: BTreeMap<Text, Sets>,
    pub tests: Vec<PolicyTest>,
    /// Files that say as of when they hold.
    pub packs: Vec<Pack>,
    pub files: usize,
    pub regions: Regions,
    pub ai_domains: AiDomains,
}

/// An event and what its policy has to say of it, written beside the policy.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// In `Policies::policies`.
    pub policy: usize,
    pub place: Place,
    pub name: String,
    pub event: Sample,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Violation,
    Pass,
    Indeterminate,
}

/// `[policies]`. What is wrong with a policy is a problem of the config: nobody goes on with other policies than are written.
pub fn of_section(section: &mut Section) -> Option<Arc<PolicyFolder>> {
    let domains = section.path("ai_domains").map(|path| ai_domains(&path));
    let folder = section.path("dir")?;
    if let Some(what) = no_folder(&folder) {
        section.complain("dir", Complaint::new(format!("names '{}', which {what}", folder.display()), WHAT_TO_NAME));
        return None;
    }
    let domains = match domains.transpose() {
        Ok(domains) => domains.unwrap_or_default(),
        Err(problem) => {
            section.notes().problem(problem);
            return None;
        }
    };
    match load(&folder) {
        Ok(read) => Some(Arc::new(PolicyFolder { ai_domains: read.ai_domains.clone().with(domains), ..read })),
        Err(problems) => {
            problems.into_iter().for_each(|problem| section.notes().problem(problem));
            None
        }
    }
}

/// A list of somebody's own.
fn ai_domains(path: &Path) -> Result<AiDomains, Problem> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Problem::new(&Place::whole(&shown), format!("cannot be read: {error}")))?;
    AiDomains::parse(&text).map_err(|(line, what)| Problem::new(&Place::whole(&format!("{shown}:{line}")), what))
}

/// # Errors
/// Every problem of every file, in their order.
pub fn load(folder: &Path) -> Result<PolicyFolder, Vec<Problem>> {
    let notes = Notes::default();
    let files = files(folder, &notes);
    let read = read(&files, &notes);
    let (problems, _) = notes.into_sorted();
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

fn read(files: &[File], notes: &Notes) -> PolicyFolder {
    let mut roots: Vec<(&File, Section)> = Vec::new();
    let mut packs: Vec<Pack> = Vec::new();
    for file in files {
        let mut root = Section::of_other_file(notes, &file.shown, &file.table);
        root.required("version", |item| match integer(item, &(0..=i64::MAX))? {
            FORMAT_VERSION => Ok(()),
            other => Err(Complaint::new(format!("is {other}"), format!("this tollgate reads policies of version {FORMAT_VERSION}"))),
        });
        // For people; nothing depends on it.
        root.optional_text("note");
        packs.push(pack(&mut root));
        roots.push((file, root));
    }
    let regions = Regions::parse(REGIONS).unwrap_or_else(|(line, what)| {
        notes.problem(Problem::new(&Place::whole("built-in regions.csv"), format!("line {line}: {what}")));
        Regions::default()
    });
    let ai_domains = AiDomains::parse(AI_DOMAINS).unwrap_or_else(|(line, what)| {
        notes.problem(Problem::new(&Place::whole("built-in ai_domains.csv"), format!("line {line}: {what}")));
        AiDomains::default()
    });
    let mut folder = PolicyFolder { sets: sets(&mut roots), files: files.len(), regions, ai_domains, ..PolicyFolder::default() };
    domains(&mut roots, &mut folder.policies.domains);
    let no_sets = Sets::default();
    for ((file, root), pack) in roots.iter_mut().zip(&packs) {
        let sets = folder.sets.get(file.domain.as_deref().unwrap_or_default()).unwrap_or(&no_sets);
        for section in root.tables("policy") {
            let number = folder.policies.policies.len();
            let place = section.place.clone();
            let read = policy(section, file.domain.clone(), pack, sets, &folder.regions, number);
            let Some((policy, tests)) = read else { continue };
            folder.policies.policies.push(policy);
            folder.places.push(place);
            folder.tests.extend(tests);
        }
    }
    for (file, root) in &mut roots {
        for section in root.tables("exemption") {
            folder.policies.exemptions.extend(exemption(section, file, &folder.policies));
        }
    }
    roots.into_iter().for_each(|(_, root)| root.finish());
    folder.packs = packs.into_iter().filter(|pack| pack.as_of.is_some()).collect();
    for conflict in folder.policies.conflicts() {
        let place = folder.places.get(conflict.policy).cloned().unwrap_or_else(|| Place::whole(""));
        notes.problem(Problem::new(&place, conflict.what).hint(conflict.hint));
    }
    folder
}

/// What is everybody's, and for each domain that and its own.
fn sets(roots: &mut [(&File, Section)]) -> BTreeMap<Text, Sets> {
    let mut all: BTreeMap<Text, Sets> = BTreeMap::new();
    all.entry("".into()).or_default();
    // Global ones first, so that a domain cannot take their names.
    for is_global in [true, false] {
        for (file, root) in roots.iter_mut().filter(|(file, _)| file.domain.is_none() == is_global) {
            let common = all.get("").cloned().unwrap_or_default();
            let sets = all.entry(file.domain.clone().unwrap_or_else(|| "".into())).or_insert(common);
            let section = root.section("sets");
            for (name, item) in section.entries() {
                if sets.plain.contains_key(name) || sets.by_key.contains_key(name) {
                    let hint = if is_global { "write it once" } else { "a domain's sets have names of their own" };
                    section.complain(name, Complaint::new("is a set that there is already", hint));
                    continue;
                }
                match set(item) {
                    Ok(OneSet::Plain(set)) => drop(sets.plain.insert(name.clone(), text_set(set))),
                    Ok(OneSet::ByKey(by_key)) => {
                        let by_key: BTreeMap<Text, _> = by_key.into_iter().map(|(key, set)| (key, text_set(set))).collect();
                        sets.by_key.insert(name.clone(), by_key.into());
                    }
                    Err(complaint) => section.complain(name, complaint),
                }
            }
        }
    }
    all
}

enum OneSet {
    Plain(Vec<Text>),
    ByKey(BTreeMap<Text, Vec<Text>>),
}

fn set(item: &Item) -> Result<OneSet, Complaint> {
    match &item.value {
        Value::List(_) => texts(item).map(OneSet::Plain),
        Value::Table(table) => {
            let each = table.iter().map(|(key, item)| Ok((Text::from(key.as_str()), texts(item)?)));
            each.collect::<Result<_, Complaint>>().map(OneSet::ByKey)
        }
        _ => Err(wrong_kind(item, "a list of texts, or a table of such lists", "[\"a\", \"b\"]")),
    }
}

fn texts(item: &Item) -> Result<Vec<Text>, Complaint> {
    let Value::List(items) = &item.value else { return Err(wrong_kind(item, "a list of texts", "[\"a\", \"b\"]")) };
    items.iter().map(|item| text(item).map(Text::from)).collect()
}

/// Each domain says once, in one of its files, whose it is.
fn domains(roots: &mut [(&File, Section)], domains: &mut Vec<Domain>) {
    let mut first: BTreeMap<Text, Place> = BTreeMap::new();
    for (file, root) in roots.iter_mut() {
        let is_there = root.has("domain");
        let mut section = root.section("domain");
        let teams: Vec<Text> = section.texts("teams").into_iter().map(|(_, team)| team.into()).collect();
        let notes = section.notes();
        match &file.domain {
            None if is_there => {
                notes.problem(
                    Problem::new(&section.place, "a file in 'global' belongs to no domain").hint("move it to the domain's folder"),
                );
            }
            Some(name) if is_there => {
                if let Some(earlier) = first.insert(name.clone(), section.place.clone()) {
                    notes.problem(Problem::new(&section.place, format!("the domain '{name}' is described at {earlier} already")));
                }
                if teams.is_empty() {
                    let problem = Problem::new(&section.place, format!("the domain '{name}' has no teams"));
                    notes.problem(problem.hint("add teams = [\"search\"]: its policies are for these"));
                }
                domains.push(Domain { name: name.clone(), teams });
            }
            _ => {}
        }
        section.finish();
    }
    for (file, root) in roots.iter() {
        if let Some(name) = file.domain.as_ref().filter(|name| !first.contains_key(*name)) {
            let problem = Problem::new(&root.place, format!("nothing says which teams belong to the domain '{name}'"));
            root.notes().problem(problem.hint("add [domain] with teams = [\"search\"] to one of its files"));
            first.insert(name.clone(), root.place.clone());
        }
    }
}

fn policy(
    mut section: Section,
    domain: Option<Text>,
    pack: &Pack,
    sets: &Sets,
    regions: &Regions,
    number: usize,
) -> Option<(Policy, Vec<PolicyTest>)> {
    let subjects = Subject::ALL.map(|subject| (subject.name(), Some(subject)));
    let subject = section.choice("applies_to", &subjects);
    let id = section.text("id");
    if id.starts_with(access::PREFIX) {
        let what = format!("is '{id}', and ids that begin with '{}' are those of [access] in the config", access::PREFIX);
        section.complain("id", Complaint::new(what, "name it otherwise: with a - in place of the ."));
    }
    if id == drift::POLICY {
        section.complain("id", Complaint::new(format!("is '{id}', which is told by [drift] in the config"), "name it otherwise"));
    }
    let owner = section.text("owner");
    let severities = [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
    let modes = [("enforce", Mode::Enforce), ("warn", Mode::Warn), ("dry-run", Mode::DryRun)];
    let severity = section.optional_choice("severity", &severities).unwrap_or_default();
    let mode = section.optional_choice("mode", &modes).unwrap_or_default();
    let subject_or = subject.unwrap_or(Subject::Usage);
    let when = condition(&mut section, "when", subject, sets);
    if !section.has("when") {
        section.notes().problem(Problem::new(&section.place, "'when' is missing in [policy]").hint("add when = 'provider == \"x\"'"));
    }
    let unless = condition(&mut section, "unless", subject, sets);
    let message = message(&mut section, "message", subject_or);
    if !section.has("message") {
        let problem = Problem::new(&section.place, "'message' is missing in [policy]");
        section.notes().problem(problem.hint("say what is wrong: message = \"{team} uses {provider}\""));
    }
    let remedy = message_of_remedy(&mut section, subject_or);
    let evidence = fields(&mut section, "evidence", subject_or, false);
    let per = subject_fields(&mut section, subject_or);
    let source = section.optional_text("source").map(Text::from);
    let as_of = section.optional("as_of", date).flatten().map(|(time, _)| time).or(pack.as_of);
    let since = section.optional("since", date).flatten().map(|(time, _)| time);
    let until = section.optional("until", date).flatten().map(|(time, _)| time);
    let overridable = section.boolean("overridable").unwrap_or(false);
    let replaces = section.optional_text("replaces").map(Text::from);
    let tests = section.tables("test").into_iter().filter_map(|section| test(section, subject_or, regions, number)).collect();
    section.finish();
    let policy = Policy {
        id: id.as_str().into(),
        domain,
        owner: owner.as_str().into(),
        severity,
        mode,
        when: when?,
        unless,
        message: message.unwrap_or_default(),
        remedy,
        evidence,
        per,
        pack: pack.name.clone(),
        source: source.or_else(|| pack.source.clone()),
        as_of,
        since,
        until,
        overridable,
        replaces,
    };
    Some((policy, tests))
}

/// `None`: not written, or wrong, which is noted with line and column.
fn condition(section: &mut Section, key: &'static str, subject: Option<Subject>, sets: &Sets) -> Option<Condition> {
    let (item, source) = section.optional(key, |item| Ok((item.clone(), text(item)?.to_string())))?;
    match Condition::compile(&source, subject?, sets) {
        Ok(condition) => Some(condition),
        Err(wrong) => {
            let place = item.place_in(&source, wrong.at.start);
            section.notes().problem(Problem { place, what: format!("'{key}': {}", wrong.what), hint: wrong.hint });
            None
        }
    }
}

fn message(section: &mut Section, key: &'static str, subject: Subject) -> Option<Message> {
    section.optional(key, |item| Message::parse(text(item)?, subject).map_err(|(what, hint)| Complaint { what, hint }))
}

fn message_of_remedy(section: &mut Section, subject: Subject) -> Option<Message> {
    message(section, "remedy", subject)
}

/// `per`: what tells violations from one another.
fn subject_fields(section: &mut Section, subject: Subject) -> Vec<usize> {
    let per = fields(section, "per", subject, subject == Subject::Usage);
    if subject == Subject::Resource && !per.is_empty() && !per.iter().any(|field| subject.field("resource_id") == Some(*field)) {
        // One that is right would end what another one violates.
        let what = "does not name 'resource_id', and each resource is right or wrong by itself";
        section.complain("per", Complaint::new(what, "add 'resource_id' to it, or leave the line out; 'evidence' shows the rest"));
    }
    per
}

/// `of_series`: only such fields are legal that are the same for all events of a series.
fn fields(section: &mut Section, key: &'static str, subject: Subject, of_series: bool) -> Vec<usize> {
    let mut fields = Vec::new();
    for (place, name) in section.texts(key) {
        match subject.field(&name) {
            Some(id) if of_series && subject.fields().get(id).is_some_and(|field| field.is_of_event) => {
                let own = subject.fields().iter().filter(|field| !field.is_of_event).map(|field| field.name);
                let what = format!("'{key}' names '{name}', which differs from event to event");
                let hint = Some(format!("violations are told apart by {}", own.collect::<Vec<_>>().join(", ")));
                section.notes().problem(Problem { place, what, hint });
            }
            Some(id) => fields.push(id),
            None => {
                let hint = did_you_mean(&name, subject.fields().iter().map(|field| field.name));
                let what = format!("'{key}' names '{name}', which {} has not", subject.name());
                section.notes().problem(Problem { place, what, hint });
            }
        }
    }
    fields
}

fn test(mut section: Section, subject: Subject, regions: &Regions, policy: usize) -> Option<PolicyTest> {
    let name = section.optional_text("name").unwrap_or_default();
    let choices =
        [("violation", Some(Expected::Violation)), ("pass", Some(Expected::Pass)), ("indeterminate", Some(Expected::Indeterminate))];
    let expected = section.choice("expect", &choices);
    let place = section.place.clone();
    let mut event = Sample::new(subject);
    let given = section.section("event");
    for (name, item) in given.entries() {
        let complaint = match self::given(item) {
            Err(complaint) => complaint,
            Ok(value) => match event.set(name, value) {
                Ok(()) => continue,
                Err(Some(kind)) => Complaint::new(format!("is {}, it should be {kind}", item.value.kind()), "write it as the event has it"),
                Err(None) => {
                    let hint = did_you_mean(name, subject.fields().iter().map(|field| field.name));
                    Complaint { what: format!("is no field of {}", subject.name()), hint }
                }
            },
        };
        given.complain(name, complaint);
    }
    event.locate(regions);
    section.finish();
    Some(PolicyTest { policy, place, name, event, expected: expected? })
}

fn given(item: &Item) -> Result<Given, Complaint> {
    Ok(match &item.value {
        Value::Text(text) | Value::Date(text) => Given::Text(text.clone()),
        Value::Integer(number) => Given::Int(*number),
        Value::Float(number) => Given::Double(*number),
        Value::List(_) => Given::Texts(texts(item)?.iter().map(|text| text.to_string()).collect()),
        Value::Table(table) => {
            let each = table.iter().map(|(name, item)| Ok((name.clone(), text(item)?.to_string())));
            Given::Tags(each.collect::<Result<_, Complaint>>()?)
        }
        Value::Bool(_) => return Err(wrong_kind(item, "a text, a number, a list or a table", "\"x\"")),
    })
}

fn exemption(mut section: Section, file: &File, policies: &Policies) -> Option<Exemption> {
    let id = section.text("policy");
    let found = policies.policies.iter().find(|policy| *policy.id == *id);
    if found.is_none() && !id.is_empty() {
        let hint = did_you_mean(&id, policies.policies.iter().map(|policy| &*policy.id));
        section.complain("policy", Complaint { what: format!("is '{id}', and there is no such policy"), hint });
    }
    if let Some(policy) = found.filter(|policy| file.domain.is_some() && policy.domain != file.domain) {
        let owner = if policy.domain.is_none() { "global" } else { policy.domain.as_deref().unwrap_or_default() };
        section.complain(
            "policy",
            Complaint::new(format!("is '{id}', which is not this domain's"), format!("exemptions of it stand in the folder {owner}")),
        );
    }
    let mut only = Vec::new();
    let conditions = section.section("only");
    let subject = found.map(|policy| policy.when.subject);
    for (name, item) in conditions.entries() {
        match (text(item), subject.and_then(|subject| subject.field(name))) {
            (Ok(value), Some(field)) => only.push((field, Text::from(value))),
            (Err(complaint), _) => conditions.complain(name, complaint),
            (Ok(_), None) if subject.is_none() => {}
            (Ok(_), None) => {
                conditions.complain(name, Complaint { what: "is no field that the policy could ask for".to_string(), hint: None })
            }
        }
    }
    if conditions.entries().next().is_none() {
        let problem = Problem::new(&section.place, "this exemption is for everybody");
        section.notes().problem(problem.hint("name whom it is for: only = { team = \"search\" }"));
    }
    let (reason, approved_by) = (section.text("reason"), section.text("approved_by"));
    let until = section.required("until", date).map(|(time, _)| time).unwrap_or_default();
    section.finish();
    Some(Exemption { policy: id.as_str().into(), only, reason, approved_by: approved_by.as_str().into(), until })
}
