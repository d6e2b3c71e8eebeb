//! E-mails.

use lettre::address::AddressError;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as SmtpTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::{DeliveryError, SMTP_PATIENCE};
use crate::alarm::{Email, Notice, Targets, Tls};

/// Hands an e-mail to its server.
pub(super) async fn send(targets: &Targets, email: &Email, notice: &Notice) -> Result<(), DeliveryError> {
    let message = written(email, notice)?;
    let address = targets.resolve(&email.server, email.port).await?;
    // The connection goes to the address that was checked, the certificate is that of the name.
    let parameters = || TlsParameters::new(email.server.clone());
    let tls = match email.tls {
        Tls::None => SmtpTls::None,
        Tls::Starttls => SmtpTls::Required(parameters()?),
        Tls::Tls => SmtpTls::Wrapper(parameters()?),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(tls)
        .timeout(Some(SMTP_PATIENCE));
    if let Some((user, password)) = &email.login {
        transport = transport.credentials(Credentials::new(user.clone(), password.to_string()));
    }
    transport.build().send(message).await?;
    Ok(())
}

fn written(email: &Email, notice: &Notice) -> Result<Message, DeliveryError> {
    let address = |text: &String| {
        text.parse()
            .map_err(|error: AddressError| DeliveryError::Mail(error.to_string()))
    };
    let mut message = Message::builder()
        .from(address(&email.from)?)
        .subject(notice.title())
        .header(ContentType::TEXT_PLAIN);
    for to in &email.to {
        message = message.to(address(to)?);
    }
    message
        .body(notice.text())
        .map_err(|error| DeliveryError::Mail(error.to_string()))
}
