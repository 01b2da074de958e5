package criu

import "encoding/binary"

// Protocol buffers, as far as CRIU's RPC and statistics need them: varints and byte strings.

type message []byte

func (m *message) varint(field int, value uint64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3)
	*m = binary.AppendUvarint(*m, value)
}

func (m *message) flag(field int, on bool) {
	if on {
		m.varint(field, 1)
	} else {
		m.varint(field, 0)
	}
}

func (m *message) bytes(field int, value []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|2)
	*m = binary.AppendUvarint(*m, uint64(len(value)))
	*m = append(*m, value...)
}

func (m *message) text(field int, value string) { m.bytes(field, []byte(value)) }

// decode calls number or text for each field until the end, or until something is malformed.
func decode(raw []byte, number func(field int, value uint64), text func(field int, value []byte)) bool {
	for len(raw) > 0 {
		key, n := binary.Uvarint(raw)
		if n <= 0 {
			return false
		}
		raw = raw[n:]
		field := int(key >> 3)
		switch key & 7 {
		case 0:
			value, n := binary.Uvarint(raw)
			if n <= 0 {
				return false
			}
			raw = raw[n:]
			if number != nil {
				number(field, value)
			}
		case 2:
			length, n := binary.Uvarint(raw)
			if n <= 0 || length > uint64(len(raw)-n) {
				return false
			}
			if text != nil {
				text(field, raw[n:n+int(length)])
			}
			raw = raw[n+int(length):]
		case 1, 5:
			size := 8
			if key&7 == 5 {
				size = 4
			}
			if len(raw) < size {
				return false
			}
			raw = raw[size:]
		default:
			return false
		}
	}
	return true
}
