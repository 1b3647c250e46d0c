//! The values that a field takes, from the schema of its request, so that error messages and the published
//! schema have one source.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::schedule::Days;
use crate::schedule::payload::DEPTH_KEYWORD;

/// Default examples.
const ID: &str = "018f3c5e-7b1a-7cc3-9a4e-5d2f8b6a1c0e";
const INSTANT: &str = "2030-01-31T02:00:00Z";

const DAY: &str = "2030-12-25";

/// The values that a field takes.
#[derive(Debug)]
pub(super) struct Shape {
    pub takes: Takes,
    /// Whether `null` is accepted, with the same meaning as absence.
    pub nullable: bool,
    example: Option<Value>,
}

/// Kinds of values.
#[derive(Debug)]
pub(super) enum Takes {
    Anything,
    Bool,
    Whole(Bounds<i128>),
    Number(Bounds<f64>),
    Text,
    /// A UUID.
    Id,
    /// A time in RFC 3339.
    Instant,
    /// Days of a calendar.
    Days,
    /// One of these.
    Words(Vec<String>),
    List(Box<Shape>),
    Object(Fields),
    /// An object with whatever fields.
    Open {
        deepest: Option<usize>,
    },
}

/// Limits of a number.
#[derive(Debug)]
pub(super) struct Bounds<N> {
    pub least: N,
    pub most: N,
    /// Whether the schema states both, rather than only the type.
    pub said: bool,
}

/// The fields of an object, in order.
#[derive(Debug)]
pub(super) struct Fields {
    pub all: Vec<(String, Shape)>,
    pub required: Vec<String>,
}

impl Fields {
    pub fn get(&self, name: &str) -> Option<&Shape> {
        self.all.iter().find(|(known, _)| known == name).map(|(_, shape)| shape)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.all.iter().map(|(name, _)| name.as_str())
    }
}

impl Shape {
    /// The shape of a type, computed once.
    pub fn of<T: JsonSchema + 'static>() -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<HashMap<TypeId, Arc<Shape>>>> = LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let shape = known.entry(TypeId::of::<T>()).or_insert_with(|| {
            let schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
            Arc::new(Self::read(&schema, &schema["$defs"]))
        });
        Arc::clone(shape)
    }

    /// The fields, if it is an object with fields.
    pub fn fields(&self) -> Option<&Fields> {
        match &self.takes {
            Takes::Object(fields) => Some(fields),
            _ => None,
        }
    }

    fn read(schema: &Value, definitions: &Value) -> Self {
        let example = schema["examples"].as_array().and_then(|examples| examples.first()).cloned();
        let mut shape = Self::resolve(schema, definitions);
        shape.example = example.or(shape.example);
        shape
    }

    fn resolve(schema: &Value, definitions: &Value) -> Self {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            if name == Days::schema_name() {
                return Self::new(Takes::Days);
            }
            return Self::read(&definitions[name], definitions);
        }
        if let Some(parts) = schema["anyOf"].as_array() {
            let (nulls, others): (Vec<_>, Vec<_>) =
                parts.iter().partition(|part| part["type"] == "null");
            let mut shape = match others.as_slice() {
                [only] => Self::read(only, definitions),
                _ => Self::new(Takes::Anything),
            };
            shape.nullable |= !nulls.is_empty();
            return shape;
        }
        let is = |name: &str| match &schema["type"] {
            Value::Array(any) => any.iter().any(|one| one == name),
            one => one == name,
        };
        let words = words(schema);
        let takes = match () {
            () if !words.is_empty() => Takes::Words(words),
            () if is("boolean") => Takes::Bool,
            () if is("integer") => Takes::Whole(whole(schema)),
            () if is("number") => Takes::Number(number(schema)),
            () if is("string") => match schema["format"].as_str() {
                Some("uuid") => Takes::Id,
                Some("date-time") => Takes::Instant,
                _ => Takes::Text,
            },
            () if is("array") => Takes::List(Box::new(Self::read(&schema["items"], definitions))),
            () if is("object") => match schema["properties"].as_object() {
                Some(all) => Takes::Object(Fields {
                    all: all
                        .iter()
                        .map(|(name, field)| (name.clone(), Self::read(field, definitions)))
                        .collect(),
                    required: texts(&schema["required"]).map(str::to_owned).collect(),
                }),
                None => {
                    let deepest =
                        schema[DEPTH_KEYWORD].as_u64().and_then(|n| usize::try_from(n).ok());
                    Takes::Open { deepest }
                }
            },
            () => Takes::Anything,
        };
        Self { nullable: is("null"), ..Self::new(takes) }
    }

    fn new(takes: Takes) -> Self {
        Self { takes, nullable: false, example: None }
    }

    /// An example of an accepted value.
    pub fn example(&self) -> Value {
        if let Some(example) = &self.example {
            return example.clone();
        }
        match &self.takes {
            Takes::Anything | Takes::Text => json!("text"),
            Takes::Bool => json!(true),
            Takes::Whole(bounds) => {
                json!(i64::try_from(300.clamp(bounds.least, bounds.most)).unwrap_or(0))
            }
            Takes::Number(bounds) => json!(0.5_f64.clamp(bounds.least, bounds.most)),
            Takes::Id => json!(ID),
            Takes::Instant => json!(INSTANT),
            Takes::Days => json!(DAY),
            Takes::Words(words) => json!(words.first()),
            Takes::List(items) => json!([items.example()]),
            Takes::Object(fields) => {
                let is_word = |field: &&(String, Self)| matches!(field.1.takes, Takes::Words(_));
                let telling = fields.all.iter().find(is_word).or(fields.all.first());
                let name = fields.required.first().or(telling.map(|(name, _)| name));
                let pair = name.and_then(|name| Some((name.clone(), fields.get(name)?.example())));
                Value::Object(pair.into_iter().collect())
            }
            Takes::Open { .. } => json!({ "key": "value" }),
        }
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The words of an enumeration. Words with a description are alternatives of their own in the schema.
fn words(schema: &Value) -> Vec<String> {
    let alone = texts(&schema["enum"]).chain(schema["const"].as_str());
    let parts = schema["oneOf"].as_array().into_iter().flatten();
    alone.map(str::to_owned).chain(parts.flat_map(words)).collect()
}

fn whole(schema: &Value) -> Bounds<i128> {
    let bound = |name: &str| {
        let value = &schema[name];
        value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
    };
    let (least, most) = match schema["format"].as_str().unwrap_or_default() {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    };
    let (lower, upper) = (bound("minimum"), bound("maximum"));
    let said = lower.is_some() && upper.is_some();
    Bounds { least: lower.unwrap_or(least), most: upper.unwrap_or(most), said }
}

fn number(schema: &Value) -> Bounds<f64> {
    let (lower, upper) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    let said = lower.is_some() && upper.is_some();
    Bounds { least: lower.unwrap_or(f64::MIN), most: upper.unwrap_or(f64::MAX), said }
}
