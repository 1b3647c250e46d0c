//! A small client of WebDriver, which is JSON over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{DEADLINE, wait_for};

/// The name of an element in replies.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How often chromedriver is started until it stays.
const STARTS: usize = 5;

/// Starts chromedriver, and reads the port that it has found. It has been seen to end without one, when many began at the
/// same moment.
fn start_driver(program: &str) -> Option<(Child, u16)> {
    let driver =
        Command::new(program).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut driver = driver.expect("chromedriver is needed (CHROMEDRIVER)");
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return Some((driver, port.trim_end_matches('.').parse().unwrap()));
        }
        said.push(line);
    }
    eprintln!("chromedriver ended ({:?}): {}", driver.wait(), said.join(" | "));
    None
}

/// A browser with one window; gone when dropped.
pub struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let named = |variable: &str, usual: &str| {
            std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
        };
        let program = named("CHROMEDRIVER", "chromedriver");
        let (driver, port) = (0..STARTS)
            .find_map(|_| start_driver(&program))
            .unwrap_or_else(|| panic!("{program} does not start (CHROMEDRIVER)"));
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let profile = TempDir::new().unwrap();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--window-size=1200,1000".to_owned(),
        ];
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut options = json!({ "args": arguments });
        if let Ok(binary) = std::env::var("CHROMIUM") {
            options["binary"] = binary.into();
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let base = format!("http://127.0.0.1:{port}");
        let mut browser =
            Self { driver, client, session: format!("{base}/session"), _profile: profile };
        let made = browser.call(Method::POST, "", wanted).await;
        browser.session = format!("{base}/session/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        self.try_call(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_call(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let request = self.client.request(method.clone(), format!("{}{path}", self.session));
        let request = if method == Method::GET { request } else { request.json(&body) };
        let answer = request.timeout(DEADLINE).send().await.unwrap();
        let (is_success, mut body) =
            (answer.status().is_success(), answer.json::<Value>().await.unwrap());
        let value = body["value"].take();
        if is_success { Ok(value) } else { Err(value) }
    }

    pub async fn open(&self, url: &str) {
        self.call(Method::POST, "/url", json!({ "url": url })).await;
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        self.call(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// How many elements a selector finds.
    pub async fn count(&self, selector: &str) -> usize {
        let query = json!({ "using": "css selector", "value": selector });
        self.call(Method::POST, "/elements", query).await.as_array().unwrap().len()
    }

    /// Does something to an element once that is possible: it may be replaced at any moment.
    async fn to_element(&self, selector: &str, action: &str, body: Value) {
        wait_for(&format!("{action} of {selector}"), || async {
            let query = json!({ "using": "css selector", "value": selector });
            let found = self.try_call(Method::POST, "/element", query).await.ok()?;
            let path = format!("/element/{}/{action}", found[ELEMENT].as_str()?);
            self.try_call(Method::POST, &path, body.clone()).await.ok()
        })
        .await;
    }

    pub async fn click(&self, selector: &str) {
        self.to_element(selector, "click", json!({})).await;
    }

    /// Puts a text in place of what an input has.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.to_element(selector, "clear", json!({})).await;
        self.to_element(selector, "value", json!({ "text": text })).await;
    }

    /// Presses a key where the focus is.
    pub async fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] });
        self.call(Method::POST, "/actions", actions).await;
    }

    /// Whether the page shows a text, also as the value of an input.
    async fn shows(&self, text: &str) -> bool {
        let script = "const texts = [document.body.innerText, ...[...document.querySelectorAll('input, textarea')]\
                      .map((node) => node.value)]; return texts.some((text) => text.includes(arguments[0]))";
        let body = json!({ "script": script, "args": [text] });
        // While a page is loaded there is nothing to ask.
        self.try_call(Method::POST, "/execute/sync", body).await == Ok(json!(true))
    }

    pub async fn wait_text(&self, text: &str) {
        wait_for(&format!("{text:?}"), || async { self.shows(text).await.then_some(()) }).await;
    }

    pub async fn wait_no_text(&self, text: &str) {
        wait_for(&format!("the end of {text:?}"), || async {
            (!self.shows(text).await).then_some(())
        })
        .await;
    }

    /// What the browser complains of: scripts that fail, and what the page's policy forbids.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.call(Method::POST, "/se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().unwrap().iter().filter(|line| line["level"] == "SEVERE");
        lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Makes the window so wide, and prefer light or dark.
    pub async fn emulate(&self, width: u32, scheme: &str) {
        let height = if width < 600 { 1000 } else { 900 };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        for (command, parameters) in [
            ("Emulation.setEmulatedMedia", json!({ "features": features })),
            (
                "Emulation.setDeviceMetricsOverride",
                json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }),
            ),
        ] {
            self.devtools(command, parameters).await;
        }
    }

    /// What the browser itself is told, beside what a page can do.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.call(Method::POST, "/goog/cdp/execute", body).await
    }

    /// The window as a WebP, a third as large as a PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let asked = json!({ "format": "webp", "quality": 55 });
        let picture = self.devtools("Page.captureScreenshot", asked).await;
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }
}

impl Browser {
    /// Has the driver end its browser, which would outlive it.
    fn quit(&self) -> std::io::Result<()> {
        let address = self.session.trim_start_matches("http://");
        let (address, path) = address.split_once('/').unwrap_or((address, ""));
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "DELETE /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        // It answers once that is done, and keeps the connection.
        stream.read_exact(&mut [0])
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Err(error) = self.quit() {
            eprintln!("the browser may be left behind: {error}");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
