//! The OpenAPI document, made from the table of operations.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::PATHS;
use super::operations::{OPERATIONS, Operation};

/// Where schemas that several operations share are in the document.
const SCHEMAS: &str = "/components/schemas";

/// A refusal.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    error: ErrorObject,
    request_id: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Error")]
struct ErrorObject {
    /// For programs.
    code: String,
    /// For people.
    message: String,
}

/// Written once: everybody may ask for it.
static DOCUMENT: LazyLock<Value> = LazyLock::new(write);

/// The OpenAPI 3.1 document of API 3.0.
pub fn document() -> Value {
    DOCUMENT.clone()
}

fn write() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    let mut generator = settings.clone().into_generator();
    let mut answers = settings.for_serialize().into_generator();
    let refused = envelope(&closed(&Refused::json_schema(&mut answers)));
    let paths: Map<_, _> = OPERATIONS
        .iter()
        .map(|operation| path(operation, &mut generator, &mut answers, &refused))
        .collect();
    let mut schemas = answers.take_definitions(true);
    schemas.extend(generator.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "IPsec gateway, API 3.0",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Each operation is also at / with its name in the header X-TC-Action.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "TC3-HMAC-SHA256": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "TC3-HMAC-SHA256 Credential=SecretId/DATE/SERVICE/tc3_request, SignedHeaders=content-type;host, Signature=...; X-TC-Timestamp and X-TC-Version come with it; x-tc-version of an operation is its version.",
            } },
        },
        "security": [{ "TC3-HMAC-SHA256": [] }],
    })
}

fn path(
    operation: &Operation,
    requests: &mut SchemaGenerator,
    answers: &mut SchemaGenerator,
    refused: &Value,
) -> (String, Value) {
    let (request, _) = (operation.describe)(requests);
    let (_, answer) = (operation.describe)(answers);
    let answer = envelope(&with_request_id(&answer));
    let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
    let refusal = |what: &str| json!({ "description": what, "content": content(refused) });
    let described = json!({ "post": {
        "operationId": operation.name,
        "summary": operation.summary,
        "x-tc-version": operation.service.version(),
        "requestBody": { "required": true, "content": content(&request.to_value()) },
        "responses": {
            "200": {
                "description": "The answer, or a refusal.",
                "content": content(&json!({ "anyOf": [refused, answer] })),
            },
            "405": refusal("The method is not POST."),
            "408": refusal("The body took too long."),
            "413": refusal("The body is too large."),
        },
    } });
    (format!("{PATHS}{}", operation.name), described)
}

/// `{"Response": ...}`.
fn envelope(answer: &Value) -> Value {
    json!({
        "type": "object",
        "properties": { "Response": answer },
        "required": ["Response"],
        "additionalProperties": false,
    })
}

/// The fields of an answer and the request id that every answer has.
fn with_request_id(answer: &Schema) -> Value {
    let mut answer = closed(answer);
    let Some(fields) = answer.as_object_mut() else {
        return answer;
    };
    // An answer without fields has neither entry.
    let properties = fields.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert("RequestId".to_owned(), json!({ "type": "string" }));
    }
    let required = fields.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.push(json!("RequestId"));
    }
    answer
}

/// An object without further fields: an answer says no more than the document.
fn closed(schema: &Schema) -> Value {
    let mut schema = schema.clone().to_value();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    schema
}
