//! What each command does: the shard's parts side by side, and the effects so far.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{Entered, Entry, Holding, PendingLogin, Reach};
use super::effects::{Effects, Forward, Frame, Outcome};
use super::history::History;
use super::message::{Message, body, name};
use super::rendering::Rendering;
use super::roster::Roster;
use super::{Shard, ShardContext};
use crate::cows::{Breed, CowId};
use crate::directory::{CowPermit, Owner, Quota};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::WHO_NAMES_MAX;
use crate::metrics::{CoreMetrics, Counter};
use crate::protocol::art::Art;
use crate::protocol::command::{Command, Extensions, Standing};
use crate::protocol::name::{Name, Prefix, any_of};
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Free, Reply};

pub(super) struct Execution<'s> {
    id: ShardId,
    context: &'s ShardContext,
    roster: &'s mut Roster,
    history: &'s History,
    pub(super) metrics: &'s CoreMetrics,
    from: ConnectionId,
    /// When the line was read, if its message is timed.
    read_at: Option<Duration>,
    /// Of the sender's address.
    quota: Option<Quota<'s>>,
    /// Without the reply.
    pub(super) effects: Effects,
    /// What comes after the line of the reply.
    pub(super) blocks: Vec<String>,
}

impl<'s> Execution<'s> {
    pub(super) fn new(shard: &'s mut Shard, from: ConnectionId, quota: Option<Quota<'s>>) -> Self {
        let Shard { id, context, roster, history, metrics, read_at, .. } = shard;
        let read_at = read_at.take();
        let (effects, blocks) = (Effects::default(), Vec::new());
        Execution { id: *id, context, roster, history, metrics, from, read_at, quota, effects, blocks }
    }

    pub(super) fn standing(&self) -> Standing<'s> {
        match self.roster.owner_and_cow(self.from) {
            Some((_, cow)) => Standing::Registered(self.name(cow)),
            None => Standing::Guest,
        }
    }

    pub(super) fn execute<'a>(&mut self, command: Command<'a>) -> Result<Reply<'a>, Refusal<'a>>
    where
        's: 'a,
    {
        match command {
            Command::Help => Ok(Reply::Commands),
            Command::HelpAll => {
                let extensions = Extensions { herd_size: self.context.herd.size(), history: self.history.is_on() };
                Ok(Reply::AllCommands(extensions))
            }
            Command::Who(prefix) => Ok(self.who(prefix)),
            Command::Cows => Ok(self.cows()),
            Command::Login(name) => self.login(name),
            Command::Say(name, text) => self.say(name, text),
            Command::Yield(text) => self.yield_to_all(text),
            Command::Quit => {
                self.effects.outcome = Outcome::Quit(self.roster.leave(self.from));
                Ok(Reply::Goodbye)
            }
            Command::Art(art) => {
                let rendering = self.roster.rendering(self.from);
                self.roster.set_rendering(self.from, Rendering { art, ..rendering });
                Ok(Reply::ArtIs(art))
            }
            Command::Show(name, art) => self.show(name, art),
            Command::Notify(on) => {
                self.roster.set_subscribed(self.from, on);
                Ok(Reply::NoticesAre(on))
            }
            Command::History(count) => self.history(count),
        }
    }

    fn who(&self, prefix: &str) -> Reply<'s> {
        let directory = &self.context.directory;
        let matching = || self.matching(Prefix::new(prefix));
        let taken = matching().flat_map(|(breed, numbers)| directory.taken(breed, numbers));
        let names: Vec<_> = taken.map(|cow| self.name(cow)).take(WHO_NAMES_MAX).collect();
        let all = match names.len() {
            // The list is complete.
            few @ ..WHO_NAMES_MAX => few,
            _ if prefix.is_empty() => directory.claimed(),
            _ => matching().map(|(breed, numbers)| directory.count_taken(breed, numbers)).sum(),
        };
        Reply::Registered { more: all.saturating_sub(names.len()), names }
    }

    /// The cows with this prefix, in the order of their names.
    fn matching<'p>(&self, prefix: Prefix<'p>) -> impl Iterator<Item = (Breed, RangeInclusive<u32>)> + use<'p, 's> {
        let herd = &self.context.herd;
        let numbers = move |breed| prefix.numbers_of(herd.name(breed), herd.size()).map(move |run| (breed, run));
        herd.breeds().flat_map(numbers)
    }

    fn cows(&self) -> Reply<'s> {
        let (herd, directory) = (&self.context.herd, &self.context.directory);
        let free = herd.breeds().flat_map(|breed| Free::list(herd.name(breed), directory.free_runs(breed)));
        Reply::Available(free.collect())
    }

    fn login<'a>(&mut self, text: &'a str) -> Result<Reply<'a>, Refusal<'a>>
    where
        's: 'a,
    {
        let herd = &self.context.herd;
        // In a herd of one there are no numbers.
        let any = any_of(text).filter(|_| herd.size() > 1).and_then(|breed| herd.breed(breed));
        let (breed, one) = match any {
            Some(breed) => (breed, None),
            None => self.find(text).map(|cow| (cow.breed(), Some(cow)))?,
        };
        let (from, permit) = (self.from, self.permit()?);
        self.check_reach(|reach| (reach == Reach::Gone).then_some(Refusal::ClusterOutOfReach))?;
        let claims = &mut self.roster.claims;
        let claim = match one {
            Some(cow) => claims.claim(cow, from),
            None => claims.claim_any(breed, from),
        };
        let taken = || one.map_or(Refusal::EveryTaken(herd.name(breed)), |cow| Refusal::Taken(self.name(cow)));
        let claim = claim.ok_or_else(taken)?;
        let entry = self.context.cluster.as_ref().map(|cluster| Entry::new(Arc::clone(cluster), &claim));
        let holding = Holding { entry, claim, permit };
        if holding.entry.is_some() {
            return Ok(self.wait_for_entry(holding, one.is_none().then_some(breed)));
        }
        Ok(self.join(holding))
    }

    /// What is entered in the cluster by now, or not: the reply to its login, if that does not go on waiting.
    pub(super) fn end_login(&mut self, login: PendingLogin, entered: Entered) -> Result<Reply<'s>, Refusal<'s>> {
        let PendingLogin { holding, any, .. } = login;
        let cow = holding.claim.cow();
        if entered != Entered::Yes {
            let unheard = self.roster.early.end(self.from).len();
            self.metrics.add(Counter::StaleFrames, unheard as u64);
        }
        match (entered, any) {
            (Entered::Yes, _) => Ok(self.join(holding)),
            (Entered::OutOfReach, _) => Err(Refusal::ClusterOutOfReach),
            (Entered::Taken, None) => Err(Refusal::Taken(self.name(cow))),
            (Entered::Taken, Some(breed)) => {
                let Holding { permit, .. } = holding;
                let claim = self.roster.claims.claim_any_from(cow.number() + 1, breed, self.from);
                let claim = claim.ok_or(Refusal::EveryTaken(self.context.herd.name(breed)))?;
                let entry = self.context.cluster.as_ref().map(|cluster| Entry::new(Arc::clone(cluster), &claim));
                Ok(self.wait_for_entry(Holding { entry, claim, permit }, any))
            }
        }
    }

    fn join(&mut self, holding: Holding) -> Reply<'s> {
        let cow = self.roster.join(self.from, holding);
        self.effects.outcome = Outcome::LoggedIn(cow);
        Reply::LoggedIn(self.name(cow))
    }

    /// Returns what the reply is once the claim is entered.
    fn wait_for_entry(&mut self, holding: Holding, any: Option<Breed>) -> Reply<'s> {
        self.roster.early.expect(holding.claim.owner());
        let reply = Reply::LoggedIn(self.name(holding.claim.cow()));
        self.effects.pending = Some(Box::new(PendingLogin { holding, any, id: None, crlf: false }));
        reply
    }

    /// Refuses what `refusal` says of the cluster's reach, if there is a cluster.
    fn check_reach<'a>(&self, refusal: impl FnOnce(Reach) -> Option<Refusal<'a>>) -> Result<(), Refusal<'a>> {
        let reach = self.context.cluster.as_ref().map(|cluster| cluster.reach());
        reach.and_then(refusal).map_or(Ok(()), Err)
    }

    fn say<'a>(&mut self, text_of_name: &'a str, text: &str) -> Result<Reply<'a>, Refusal<'a>>
    where
        's: 'a,
    {
        let (author, sender) = self.sender()?;
        let cow = self.find(text_of_name)?;
        let to = self.context.directory.owner(cow).ok_or(Refusal::NotLoggedIn(self.name(cow)))?;
        let is_remote = self.context.cluster.as_ref().is_some_and(|cluster| cluster.shard() == to.shard());
        if is_remote {
            self.check_reach(|reach| match reach {
                Reach::Open => None,
                Reach::Full => Some(Refusal::ClusterTooSlow),
                Reach::Gone => Some(Refusal::CowOutOfReach(self.name(cow))),
            })?;
        }
        self.metrics.add(Counter::Says, 1);
        let demand = &self.context.demand;
        let message = match self.roster.holder(to) {
            Some(receiver) => self.message(sender, text, true, |rendering| rendering == receiver[0].rendering),
            // The core of the receiver draws it, unless all of that core wants the same rendering.
            None => {
                let wanted = |rendering: &Rendering| demand.users(to.shard(), *rendering) > 0;
                let is_only = Rendering::all().filter(wanted).count() == 1;
                self.message(sender, text, true, |rendering| is_only && wanted(&rendering))
            }
        };
        // A cow that talks to itself need not wait for itself. How far a remote cow is behind only its server knows.
        self.effects.receiver = Some(cow).filter(|_| to != author && !is_remote);
        self.effects.message_bytes = message.bytes_at_most(self.context.drawing());
        let frame = Frame::Say { message, author, to, in_flight: None };
        if to.shard() == self.id {
            self.effects.local = Some(frame);
        } else {
            self.effects.forward = Forward::To(to.shard(), frame);
        }
        Ok(Reply::SentTo(self.name(cow)))
    }

    fn yield_to_all<'a>(&mut self, text: &str) -> Result<Reply<'a>, Refusal<'a>> {
        let (author, sender) = self.sender()?;
        let mut others = self.context.directory.claimed().saturating_sub(1);
        let mut left_out = None;
        if let Some(cluster) = &self.context.cluster {
            let remote = self.context.directory.claimed_by(cluster.shard());
            match cluster.reach() {
                // Other servers need it only for their users and their histories.
                Reach::Open => left_out = (remote == 0 && !self.history.is_on()).then(|| cluster.shard()),
                Reach::Full => return Err(Refusal::ClusterTooSlow),
                // Those here hear it.
                Reach::Gone => {
                    others = others.saturating_sub(remote);
                    left_out = Some(cluster.shard());
                }
            }
        }
        self.metrics.add(Counter::Yields, 1);
        if others == 0 && !self.history.is_on() {
            return Ok(Reply::SentToCows(0));
        }
        let (demand, own) = (&self.context.demand, self.roster.rendering(self.from));
        let is_wanted = |rendering| demand.users_anywhere(rendering) > u32::from(rendering == own);
        let message = self.message(sender, text, false, is_wanted);
        self.effects.message_bytes = message.bytes_at_most(self.context.drawing());
        let frame = Frame::Yield { message, author };
        self.effects.forward = Forward::ToOthers(frame.clone(), left_out);
        self.effects.local = Some(frame);
        self.effects.receivers = others;
        Ok(Reply::SentToCows(others))
    }

    fn show<'a>(&mut self, text: &'a str, art: Option<Art>) -> Result<Reply<'a>, Refusal<'a>>
    where
        's: 'a,
    {
        let cow = self.find(text)?;
        let rendering = self.roster.rendering(self.from);
        let body = body(&self.context.herd, cow.breed(), art.unwrap_or(rendering.art));
        // The picture of a file may end in empty lines.
        let body = body.unwrap_or_default().trim_end_matches('\n');
        let lines = body.lines().count();
        if lines > 0 {
            self.blocks.push(rendering.end_lines(format!("{body}\n")));
        }
        Ok(Reply::Picture(self.name(cow), lines))
    }

    fn history<'a>(&mut self, count: Option<usize>) -> Result<Reply<'a>, Refusal<'a>> {
        if !self.history.is_on() {
            return Err(Refusal::HistoryIsOff);
        }
        let rendering = self.roster.rendering(self.from);
        self.blocks = self.history.last(count.unwrap_or(usize::MAX), self.context.drawing(), rendering);
        Ok(Reply::History(self.blocks.len()))
    }

    /// A message, drawn as it is wanted now: drawing costs the sender, and a fault in it ends the sender's session. Other
    /// renderings are drawn where the message arrives.
    fn message(&self, sender: CowId, text: &str, private: bool, is_wanted: impl Fn(Rendering) -> bool) -> Arc<Message> {
        let message = Message::new(sender, text, private, self.read_at);
        for rendering in Rendering::all().filter(|&rendering| is_wanted(rendering)) {
            message.draw(self.context.drawing(), rendering);
        }
        message
    }

    /// Counts one cow more towards the quota, if there is one.
    fn permit<'a>(&self) -> Result<Option<CowPermit>, Refusal<'a>> {
        let take = |quota: Quota<'_>| quota.take().ok_or(Refusal::TooManyCows(quota.cows_max));
        self.quota.map(take).transpose()
    }

    fn find<'a>(&self, text: &'a str) -> Result<CowId, Refusal<'a>> {
        let cow = Name::parse(text).and_then(|Name { breed, number }| self.context.herd.find(breed, number));
        cow.ok_or(Refusal::NoSuchCow(text))
    }

    fn name(&self, cow: CowId) -> Name<'s> {
        name(&self.context.herd, cow)
    }

    fn sender<'a>(&self) -> Result<(Owner, CowId), Refusal<'a>> {
        self.roster.owner_and_cow(self.from).ok_or(Refusal::LoginFirst)
    }
}
