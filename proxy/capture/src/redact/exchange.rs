//! Redaction of a whole exchange. A number that one part of it tells apart ("my phone
//! number is …") is replaced in every part, or an argument would hold it as it was.

use std::sync::Arc;

use understudy_call::Exchange;

use super::told::Told;
use super::{Noted, Redactor};

/// What was noted of each part.
#[derive(Default)]
struct Parts {
    asked: Noted,
    answered: Noted,
    /// Of what no understudy reads or learns.
    beside: Noted,
}

impl Parts {
    fn all(&mut self) -> [&mut Noted; 3] {
        [&mut self.asked, &mut self.answered, &mut self.beside]
    }
}

impl Redactor {
    /// Redacts an exchange in place, and marks its reply; says whether anything changed.
    pub(crate) fn exchange(&self, ex: &mut Exchange) -> bool {
        let mut parts = Parts::default();
        let mut changed = self.each_part(ex, &mut parts);
        let mut told = Told::default();
        for noted in parts.all() {
            told.add(noted.told());
        }
        if !told.is_empty() {
            let told = Arc::new(told);
            for noted in parts.all() {
                noted.seek(&told);
            }
            changed |= self.each_part(ex, &mut parts);
        }
        // One out of an export was redacted before, and the stand-ins need not look like
        // what they stand for.
        ex.stand_ins = ex.stand_ins.max(parts.answered.in_reply_to(&parts.asked));
        changed
    }

    fn each_part(&self, ex: &mut Exchange, parts: &mut Parts) -> bool {
        let Parts { asked, answered, beside } = parts;
        let mut changed = ex.request.as_mut().is_some_and(|r| self.request_noting(r, asked));
        changed |= ex.reply.as_mut().is_some_and(|r| self.reply_noting(r, answered));
        changed |= ex.understudy_reply.as_mut().is_some_and(|r| self.reply_noting(r, beside));
        changed |= ex.meta.explicit_conversation.as_mut().is_some_and(|c| self.replace_noting(c, beside));
        for (_, value) in &mut ex.meta.headers {
            changed |= self.replace_noting(value, beside);
        }
        changed
    }
}
