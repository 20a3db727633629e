//! fields - what becomes of one field of a scanned message: checked, and copied into the slim model.

use crate::scan::{Damage, Frame, Scan};
use crate::schema::{Field, Kind, Msg};
use crate::wire::{self, Cursor, WireType};
use nnc_ir::diag::Diagnostic;
use std::ops::Range;

impl Scan<'_> {
    /// Varints, which are written anew so that decoding cannot fail.
    pub(crate) fn ints(
        &mut self,
        field: &'static Field,
        wire_type: WireType,
        payload: Range<usize>,
    ) -> Result<(), Damage> {
        let narrow = matches!(field.kind, Kind::Int32 | Kind::Ints32);
        let is_dims = field.name == "dims";
        wire::put_tag(&mut self.slim, field.number, wire_type);
        let length_at = (wire_type == WireType::Bytes).then(|| wire::put_late_length(&mut self.slim));
        let mut values = Cursor::new(self.cursor.bytes, payload.start, payload.end);
        let mut n = 0;
        while !values.at_end() {
            let value = values.varint().map_err(|e| self.damage(e, Some(field)))?;
            n += 1;
            if is_dims && n > self.limits.rank {
                continue; // counted, reported below
            }
            // Protobuf keeps the low half of a 32-bit field, with its sign.
            let value = if narrow { i64::from(value as u32 as i32) as u64 } else { value };
            wire::put_varint(&mut self.slim, value);
        }
        if let Some(place) = length_at {
            wire::fill_late_length(&mut self.slim, place);
        }
        if is_dims {
            self.count_dims(n);
        }
        Ok(())
    }

    /// Checks the rank of a tensor that has `n` more dims.
    fn count_dims(&mut self, n: usize) {
        let limit = self.limits.rank;
        let frame = self.stack.last_mut().expect("dims are inside a tensor");
        let before = frame.n_dims;
        frame.n_dims += n;
        let (rank, msg, end) = (frame.n_dims, frame.msg, frame.end);
        // Dims that come one by one are reported once, when they cross the limit.
        if rank > limit && before <= limit {
            let name = self.peek_name(msg, end);
            self.error(Diagnostic::error(502, format!("tensor '{name}' has rank {rank}, limit {limit}")));
        }
    }

    /// Name of the tensor being walked, which usually comes after its dims.
    fn peek_name(&self, msg: Msg, end: usize) -> String {
        let mut rest = Cursor::new(self.cursor.bytes, self.cursor.pos, end);
        while let (Msg::Tensor, false, Ok((number, wire_type))) = (msg, rest.at_end(), rest.tag()) {
            match rest.payload(wire_type) {
                Ok(text) if number == 8 => {
                    return String::from_utf8_lossy(&self.cursor.bytes[text]).chars().take(200).collect();
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.path(None)
    }

    /// A string that must be UTF-8, and short if it is a name.
    pub(crate) fn text(&mut self, field: &'static Field, index: u32, payload: Range<usize>) {
        let limit = self.limits.name_bytes;
        if field.kind == Kind::Name && payload.len() > limit {
            let what = self.what(field, index);
            let n = payload.len();
            self.error(
                Diagnostic::error(506, format!("{what}: name of {n} bytes over limit {limit}"))
                    .at_byte(payload.start as u64),
            );
            return;
        }
        if let Err(e) = std::str::from_utf8(&self.cursor.bytes[payload.clone()]) {
            let what = self.what(field, index);
            let byte = payload.start + e.valid_up_to();
            self.error(
                Diagnostic::error(15, format!("{what} is not UTF-8 (byte {byte})")).at_byte(byte as u64),
            );
            return;
        }
        self.copy(field, WireType::Bytes, payload);
    }

    /// How a message calls a string: by its node where there is one.
    fn what(&self, field: &'static Field, index: u32) -> String {
        match self.stack.last() {
            Some(Frame { msg: Msg::Node, field: Some((_, node)), .. }) => match field.name {
                "input" | "output" => format!("{} {index} of node #{node}", field.name),
                name => format!("{name} of node #{node}"),
            },
            _ => self.path(Some((field, index))),
        }
    }

    pub(crate) fn fixed(
        &mut self,
        field: &'static Field,
        wire_type: WireType,
        payload: Range<usize>,
        element_bytes: usize,
    ) -> Result<(), Damage> {
        if !payload.len().is_multiple_of(element_bytes) {
            let path = self.path(Some((field, 0)));
            let n = payload.len();
            return Err(Box::new(
                Diagnostic::error(
                    7,
                    format!("truncated: {path} has {n} bytes of {element_bytes}-byte values"),
                )
                .at_byte(payload.start as u64),
            ));
        }
        self.copy(field, wire_type, payload);
        Ok(())
    }

    pub(crate) fn copy(&mut self, field: &Field, wire_type: WireType, payload: Range<usize>) {
        wire::put_tag(&mut self.slim, field.number, wire_type);
        if wire_type == WireType::Bytes {
            wire::put_varint(&mut self.slim, payload.len() as u64);
        }
        self.slim.extend_from_slice(&self.cursor.bytes[payload]);
    }
}
