//! Encryption of a frame's payload under one sender's key.
//!
//! AES-256-GCM-SIV (RFC 8452), because it bears what this design cannot rule out: a host whose
//! clock and whose record both went back, or that was copied while it ran, uses a counter twice.
//! Then an eavesdropper learns whether two frames are equal, and nothing else.
//!
//! The nonce is counter u64 ‖ sender u8 ‖ 3 zero; header (without its check) and trailer (without
//! its tag) are associated data.

use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _, inout::InOutBuf};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};

use super::header::{CHECK_AT, TAG_AT, TAG_BYTES};

/// What is bound to the payload and stays readable.
pub(super) type Associated = [u8; CHECK_AT + TAG_AT];

/// A payload that was not encrypted with this key, counter and header.
pub(super) struct Altered;

/// One sender's cipher; the key is scheduled once.
pub(super) struct Cipher(Aes256GcmSiv);

impl Cipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256GcmSiv::new(key.into()))
    }

    /// Encrypts in place and returns the tag.
    pub(super) fn close(&self, associated: &Associated, payload: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = nonce_of(associated);
        let closed = self
            .0
            .encrypt_inout_detached(&nonce, associated, payload.into());
        closed.expect("a frame is far below 64 GiB").into()
    }

    /// Decrypts `payload` into `plain`, which is as long; what `plain` holds after an error is
    /// noise or zero.
    pub(super) fn open(
        &self,
        associated: &Associated,
        payload: &[u8],
        plain: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Altered> {
        let nonce = nonce_of(associated);
        let buffer = InOutBuf::new(payload, plain).expect("both are as long");
        self.0
            .decrypt_inout_detached(&nonce, associated, buffer, &Tag::from(*tag))
            .map_err(|_| Altered)
    }
}

/// Counter and sender stand in the trailer.
fn nonce_of(associated: &Associated) -> Nonce {
    let trailer = &associated[CHECK_AT..];
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&trailer[8..16]);
    nonce[8] = trailer[4];
    nonce.into()
}
