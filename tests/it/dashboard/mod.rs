//! The dashboard over HTTP, as a browser without scripts uses it: pages, forms, cookies.

mod access;
mod docs;
mod failures;
mod feed;
mod forms;
mod hostile;
mod keyed;
mod reruns;
mod screens;
mod shown;

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Method, RequestBuilder, StatusCode};

use crate::harness::{DEADLINE, Service};

/// A browser that runs no scripts.
pub struct Browser {
    client: reqwest::Client,
    pub base: String,
    pub cookies: Mutex<BTreeMap<String, String>>,
}

/// A page, or where it leads.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

/// Fields of a form.
pub type Fields = Vec<(String, String)>;

impl Browser {
    pub async fn new(service: &Service) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let base = format!("http://{}", service.http().await);
        Self { client, base, cookies: Mutex::default() }
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let cookies = self.cookies.lock().unwrap();
        let cookies: Vec<_> =
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.client.request(method, format!("{}{path}", self.base));
        match cookies.is_empty() {
            true => request,
            false => request.header(COOKIE, cookies.join("; ")),
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Page {
        let response = request.timeout(DEADLINE).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            match value {
                "" => drop(cookies.remove(name)),
                value => drop(cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        Page { status, headers, text: response.text().await.unwrap() }
    }

    /// A page that must be there.
    pub async fn page(&self, path: &str) -> Page {
        let page = self.send(self.ask(Method::GET, path)).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        page
    }

    pub async fn post(&self, path: &str, fields: &Fields) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .ask(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", &self.base)
            .body(body);
        self.send(request).await
    }

    /// Sends the form of a page that has this action, with further fields.
    pub async fn submit(&self, page: &Page, action: &str, more: &[(&str, &str)]) -> Page {
        self.post(action, &page.filled(action, more)).await
    }
}

impl Page {
    /// Where it leads.
    pub fn leads_to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.headers[LOCATION].to_str().unwrap()
    }

    pub fn has(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "no {text:?} in {}", self.text);
        self
    }

    pub fn lacks(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "{text:?} in {}", self.text);
        self
    }

    /// What the form with this action sends: its fields as they are, with `more` in place of those of the same name.
    pub fn filled(&self, action: &str, more: &[(&str, &str)]) -> Fields {
        let begin = format!("action=\"{action}\"");
        let (_, form) =
            self.text.split_once(&begin).unwrap_or_else(|| panic!("no {action} in {}", self.text));
        let form = form.split("</form>").next().unwrap();
        let mut fields = Fields::new();
        for input in form.split("<input ").skip(1) {
            let tag = input.split('>').next().unwrap();
            let is_ticked = !tag.contains("type=\"checkbox\"");
            if let Some(name) = attribute(tag, "name").filter(|_| is_ticked) {
                fields.push((name, attribute(tag, "value").unwrap_or_default()));
            }
        }
        for area in form.split("<textarea ").skip(1) {
            let (tag, rest) = area.split_once('>').unwrap();
            let value = unescaped(rest.split("</textarea>").next().unwrap());
            fields.push((attribute(tag, "name").unwrap(), value));
        }
        for select in form.split("<select ").skip(1) {
            let name = attribute(select.split('>').next().unwrap(), "name").unwrap();
            let options = select.split("</select>").next().unwrap();
            let chosen = options.split("<option ").find(|option| {
                option.split('>').next().is_some_and(|tag| tag.ends_with(" selected"))
            });
            let value = chosen.and_then(|option| attribute(option, "value")).unwrap_or_default();
            fields.push((name, value));
        }
        fields.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        fields
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    Some(unescaped(rest.split('"').next()?))
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&amp;", "&")
}

/// All screens, of a schedule and an execution.
pub fn screens(schedule: &str, execution: &str) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/",
        "/schedules",
        "/schedules/new",
        "/executions",
        "/failures",
        "/reruns",
        "/upcoming",
        "/calendars",
        "/groups",
        "/changes",
        "/system",
    ]
    .map(str::to_owned)
    .into();
    for part in ["", "/edit", "/why"] {
        paths.push(format!("/schedules/{schedule}{part}"));
    }
    paths.push(format!("/executions/{execution}"));
    paths
}
