//! Quick Modes that we initiate.

use std::iter;
use std::time::{Duration, Instant};

use crate::crypto::KeyExchangeDone;
use crate::diagnosis::Diagnosis;
use crate::endpoint::Endpoint;
use crate::endpoint::jobs::JobOwner;
use crate::ike_sa::SaKey;
use crate::jobs::Urgency;
use crate::path::Path;
use crate::tunnel::Want;
use crate::v1::Refusal;
use crate::v1::informational::{delete_esp, notify_esp};
use crate::v1::isakmp_sa::{QuickMode, QuickStep, digest};
use crate::v1::quick_mode::initiator::{Asking, Concluded, Next};
use crate::wire::Header;
use crate::wire::v1::NotifyType;

impl Endpoint {
    /// Asks for a Child SA; with PFS once our public value is there.
    pub(in crate::endpoint) fn start_quick_mode(&mut self, now: Instant, key: SaKey, want: Want) {
        let spi = self.new_esp_spi();
        let Some(setting) = self.setting(key) else { return };
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        let message_id = established.new_message_id(&mut self.rng);
        established.used_message_ids.insert(message_id);
        // Reserved until the exchange ends, one way or the other.
        self.inbound_spis.insert(spi);
        let asking = Asking {
            want,
            message_id,
            spi,
        };
        match Asking::job(setting.terms(), &mut self.rng) {
            None => self.ask(now, key, asking, None),
            Some(job) => {
                let quick = QuickMode::computing(QuickStep::Asking(asking), None, now);
                self.keep_quick_mode(now, key, message_id, quick);
                let owner = JobOwner::QuickMode(key, message_id);
                if self.enqueue(Urgency::Trusted, owner, job).is_err() {
                    self.forget_quick_mode(key, message_id);
                }
            }
        }
    }

    /// `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`
    pub(super) fn ask(&mut self, now: Instant, key: SaKey, asking: Asking, done: Option<KeyExchangeDone>) {
        let Some(setting) = self.setting(key) else { return };
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let started = asking.start(&established.keys, setting.terms(), done, &mut self.rng);
        let Ok((step, datagram)) = started else {
            return self.forget_quick_mode(key, asking.message_id);
        };
        let quick = QuickMode::new(QuickStep::Initiated(Box::new(step)), datagram.clone(), None, now);
        self.keep_quick_mode(now, key, asking.message_id, quick);
        self.send_ike(key, path, datagram);
    }

    /// `<-- HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr`
    pub(super) fn on_quick_answer(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let Some(setting) = self.setting(key) else { return };
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        let message_id = header.message_id;
        let Some(quick) = established.quick_modes.get(&message_id) else {
            return;
        };
        let QuickStep::Initiated(step) = &quick.step else {
            return;
        };
        let asking = step.asking;
        match step.judge(&established.keys, setting.terms(), header, body) {
            Err(Refusal::Drop(why)) => self.drop_datagram(why),
            Err(Refusal::Report(diagnosis, notify) | Refusal::End(diagnosis, notify)) => {
                self.note_protected(now, key, path, header);
                self.refuse_quick_answer(now, key, asking, diagnosis, notify);
            }
            Ok(answer) => {
                let Some(quick) = established.quick_modes.remove(&message_id) else {
                    return;
                };
                let answered_in = now.saturating_duration_since(quick.started);
                let QuickStep::Initiated(step) = quick.step else {
                    return;
                };
                let next = step.on_answer(answer, &established.keys);
                self.note_protected(now, key, path, header);
                let answer = (Some(digest(datagram)), answered_in);
                match next {
                    Ok(Next::Concluded(concluded)) => self.conclude(now, key, asking, answer, Ok(*concluded)),
                    Err(refusal) => self.conclude(now, key, asking, answer, Err(refusal)),
                    Ok(Next::Compute(step, job)) => {
                        let mut quick = QuickMode::computing(QuickStep::Agreeing(step), Some(datagram), now);
                        quick.answered_in = answered_in;
                        self.keep_quick_mode(now, key, message_id, quick);
                        let owner = JobOwner::QuickMode(key, message_id);
                        if self.enqueue(Urgency::Trusted, owner, job).is_err() {
                            self.forget_quick_mode(key, message_id);
                        }
                    }
                }
            }
        }
    }

    /// `HDR*, HASH(3) -->`. `answer` is the digest of message 2 and how long it took.
    pub(super) fn conclude(
        &mut self,
        now: Instant,
        key: SaKey,
        asking: Asking,
        (answered, answered_in): (Option<Vec<u8>>, Duration),
        concluded: Result<Concluded, Refusal>,
    ) {
        let Concluded {
            new_child,
            datagram,
            commit,
        } = match concluded {
            Ok(concluded) => concluded,
            Err(Refusal::Drop(why)) => {
                self.forget_quick_mode(key, asking.message_id);
                return self.drop_datagram(why);
            }
            Err(Refusal::Report(diagnosis, notify) | Refusal::End(diagnosis, notify)) => {
                return self.refuse_quick_answer(now, key, asking, diagnosis, notify);
            }
        };
        let mut quick = QuickMode::new(QuickStep::Finished, datagram.clone(), None, now);
        quick.answered = answered;
        self.keep_quick_mode(now, key, asking.message_id, quick);
        if let Some(child) = self.install(now, key, new_child, true) {
            if commit {
                self.await_connected(now, child);
            } else {
                self.settle(now, child, answered_in);
            }
        }
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        self.send_ike(key, path, datagram);
        self.pump(now, connection);
    }

    /// Message 2 is authentic and not what we can use. The peer has installed its half: it hears why that will not be used, and that
    /// it can go.
    fn refuse_quick_answer(
        &mut self,
        now: Instant,
        key: SaKey,
        asking: Asking,
        diagnosis: Diagnosis,
        notify: Option<NotifyType>,
    ) {
        let notify = notify.unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN);
        self.send_informational(key, |_| {
            iter::once(notify_esp(notify, Some(asking.spi)))
                .chain(delete_esp(&[asking.spi]))
                .collect()
        });
        self.fail_quick_mode(now, key, asking, diagnosis);
    }

    /// A Quick Mode of ours came to nothing. What it was for is given up, unless it renews what is there.
    pub(in crate::endpoint) fn fail_quick_mode(
        &mut self,
        now: Instant,
        key: SaKey,
        asking: Asking,
        diagnosis: Diagnosis,
    ) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        self.forget_quick_mode(key, asking.message_id);
        self.inbound_spis.remove(&asking.spi);
        self.report(now, Some(connection), path, diagnosis);
        match asking.want.replaces {
            Some(old) => self.renew_later(now, old),
            None => self.retry_later(now, connection),
        }
        self.pump(now, connection);
    }
}
