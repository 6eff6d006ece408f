//! Describes the API in OpenAPI 3.1, from the same entries that make its routes.

use crate::endpoint::{Endpoint, Gives, SchemaOf, Takes, Verb};
use crate::wire::ErrorBody;
use std::collections::BTreeMap;
use utoipa::ToSchema as _;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
};

/// The whole description.
pub fn describe(endpoints: &[&'static Endpoint]) -> OpenApi {
    let mut schemas = BTreeMap::new();
    collect(&mut schemas, crate::endpoint::schema_of::<ErrorBody>());
    let mut paths = PathsBuilder::new();
    for endpoint in endpoints {
        if let Takes::Json(schema) = endpoint.takes {
            collect(&mut schemas, schema);
        }
        if let Gives::Json(_, schema) | Gives::Page(schema) = endpoint.gives {
            collect(&mut schemas, schema);
        }
        let item = PathItem::new(method(endpoint.verb), operation(endpoint));
        paths = paths.path(format!("/api/v1{}", endpoint.path), item);
    }
    let cookie = ApiKey::Cookie(ApiKeyValue::new(crate::auth::session::COOKIE));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("session", SecurityScheme::ApiKey(cookie));
    let info = InfoBuilder::new().title("Cheling").version(env!("CARGO_PKG_VERSION"));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components.build()))
        .build()
}

fn method(verb: Verb) -> HttpMethod {
    match verb {
        Verb::Get => HttpMethod::Get,
        Verb::Post => HttpMethod::Post,
        Verb::Put => HttpMethod::Put,
        Verb::Delete => HttpMethod::Delete,
    }
}

fn operation(endpoint: &Endpoint) -> utoipa::openapi::path::Operation {
    let group = endpoint.path.split('/').nth(1).unwrap_or("");
    let holders = format!("Who may: {}.", endpoint.right.holders());
    let mut operation = OperationBuilder::new()
        .tag(group)
        .operation_id(Some(operation_id(endpoint)))
        .summary(Some(endpoint.summary))
        .description(Some(holders));
    if endpoint.right != crate::auth::right::Right::Anyone {
        operation =
            operation.security(SecurityRequirement::new::<_, [&str; 0], &str>("session", []));
    }
    for segment in endpoint.path.split('/') {
        if let Some(name) = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            let part = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
            operation = operation.parameter(part.required(Required::True).schema(Some(text())));
        }
    }
    for (name, meaning) in endpoint.query {
        let query = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Query);
        let query = query.required(Required::False).description(Some(*meaning));
        operation = operation.parameter(query.schema(Some(text())));
    }
    operation.request_body(body(endpoint.takes)).responses(responses(endpoint.gives)).build()
}

/// `put_calls_id_wrap_up`.
fn operation_id(endpoint: &Endpoint) -> String {
    let path: String = endpoint
        .path
        .chars()
        .filter(|letter| !matches!(letter, '{' | '}'))
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
        .collect();
    format!("{:?}{path}", endpoint.verb).to_lowercase()
}

fn body(takes: Takes) -> Option<utoipa::openapi::request_body::RequestBody> {
    let (mime, schema) = match takes {
        Takes::Nothing => return None,
        Takes::Json(schema) => ("application/json", reference(schema)),
        Takes::File => {
            let file = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
            let form = ObjectBuilder::new().property("file", file.build()).required("file");
            ("multipart/form-data", RefOr::T(Schema::Object(form.build())))
        }
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    Some(RequestBodyBuilder::new().content(mime, content).required(Some(Required::True)).build())
}

fn responses(gives: Gives) -> utoipa::openapi::response::Responses {
    let json = |schema: RefOr<Schema>| {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new().description("Done").content("application/json", content)
    };
    let (status, good) = match gives {
        Gives::Json(status, schema) => (status, json(reference(schema))),
        Gives::Page(schema) => (200, json(page(schema))),
        Gives::Object => (200, json(RefOr::T(Schema::Object(ObjectBuilder::new().build())))),
        Gives::Empty(status) => (status, ResponseBuilder::new().description("Done")),
        Gives::Bytes(mimes) => {
            let good = ResponseBuilder::new().description("The bytes, or the part asked for");
            (200, mimes.iter().fold(good, |good, mime| good.content(*mime, binary())))
        }
        Gives::Socket => (101, ResponseBuilder::new().description("A WebSocket of JSON events")),
    };
    let error = RefOr::Ref(Ref::from_schema_name(ErrorBody::name()));
    let error = ContentBuilder::new().schema(Some(error)).build();
    let bad = ResponseBuilder::new().description("Refused").content("application/json", error);
    ResponsesBuilder::new()
        .response(status.to_string(), good.build())
        .response("default", bad.build())
        .build()
}

fn reference(schema: SchemaOf) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name((schema.name)()))
}

fn page(schema: SchemaOf) -> RefOr<Schema> {
    let items = ArrayBuilder::new().items(reference(schema));
    let nullable = SchemaType::from_iter([Type::String, Type::Null]);
    let cursor = ObjectBuilder::new().schema_type(nullable).build();
    let page = ObjectBuilder::new()
        .property("items", items.build())
        .property("next_cursor", cursor)
        .required("items")
        .required("next_cursor");
    RefOr::T(Schema::Object(page.build()))
}

fn text() -> RefOr<Schema> {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    RefOr::T(Schema::Object(schema.build()))
}

fn binary() -> utoipa::openapi::Content {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).format(Some(
        utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Binary),
    ));
    ContentBuilder::new().schema(Some(schema.build())).build()
}

fn collect(schemas: &mut BTreeMap<String, RefOr<Schema>>, schema: SchemaOf) {
    let mut parts = Vec::new();
    (schema.parts)(&mut parts);
    schemas.extend(parts);
    schemas.insert((schema.name)().into_owned(), (schema.schema)());
}
