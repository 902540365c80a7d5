// Package remediator carries the shipped rules file, so that the binary can show the playbook without a checkout.
package remediator

import _ "embed"

// Playbook is the text of the shipped rules.yaml.
//
//go:embed rules.yaml
var Playbook []byte
