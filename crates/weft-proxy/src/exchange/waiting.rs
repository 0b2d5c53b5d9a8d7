//! A request that waits for a connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::Exchange;
use crate::error::ProxyError;
use crate::live::Live;

impl Exchange<'_> {
    /// Waits for `connection`, unless the caller goes away meanwhile: it would take a place from
    /// others, and the server would do what nobody wants any more. Nothing moves while it is waited
    /// for, which may be so for `idle`.
    ///
    /// `is_again` says that the request has waited before: then it is looked for the caller even if
    /// there is a connection at once.
    ///
    /// # Errors
    /// [`ProxyError::ClientGone`], [`ProxyError::StoodStill`], and those of `connection`.
    pub(crate) async fn while_wanted<T>(
        &mut self,
        live: &Live,
        idle: Duration,
        is_again: bool,
        mut connection: Pin<&mut impl Future<Output = Result<T, ProxyError>>>,
    ) -> Result<T, ProxyError> {
        let at_once = poll_fn(|cx| {
            if is_again && self.downstream.poll_left(cx).is_ready() {
                return Poll::Ready(Some(Err(ProxyError::ClientGone)));
            }
            match connection.as_mut().poll(cx) {
                Poll::Ready(connected) => Poll::Ready(Some(connected)),
                Poll::Pending => Poll::Ready(None),
            }
        });
        if let Some(connected) = at_once.await {
            return connected; // As most do, which costs them nothing.
        }
        let waiting = poll_fn(|cx| {
            if self.downstream.poll_left(cx).is_ready() {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            connection.as_mut().poll(cx)
        });
        // What is rare is no part of every request's future.
        let waiting = async move { live.watch_moving(idle).over(|| Ok(()), waiting).await };
        Box::pin(waiting).await.flatten()
    }
}
