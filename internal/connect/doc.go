// Package connect holds what everything that calls out shares: secrets that are never printed, an HTTP transport that reaches only
// the hosts it was given, the wrapped clients of Google Cloud, PagerDuty and Slack, and the answer to the one question that
// matters when a call fails: may it have taken effect?
//
// Clients read their secrets again on each use, so that a rotated one works without a restart. All of them are safe for concurrent
// use, and none calls out before it is asked something.
package connect
