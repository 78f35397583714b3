# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A requester in Ruby, with the client library that LegionIO has (Bunny): reads a JSON document from standard input, asks
# each of its requests in turn, and writes the replies as JSON. Its messages are composed from the literal ones.

require "base64"
require "bunny"
require "json"
require "openssl"
require "securerandom"
require "time"

SIGNED = %w[request_id correlation_id idempotency_key operation provider provider_instance model params reply_to
            message_context caller trace_context timeout_seconds expires_at execution_contract offering_id].freeze

def base64(data)
  Base64.urlsafe_encode64(data, padding: false)
end

def token(body, secret)
  now = Time.now.to_i
  claims = { iss: "legion-llm", aud: "lex-llm-fleet-worker", iat: now, nbf: now, exp: now + 180, jti: SecureRandom.uuid }
  claims.merge!(body.slice(*SIGNED))
  parts = "#{base64(JSON.generate(alg: 'HS256'))}.#{base64(JSON.generate(claims))}"
  "#{parts}.#{base64(OpenSSL::HMAC.digest('SHA256', secret, parts))}"
end

def encrypted(text, secret)
  cipher = OpenSSL::Cipher.new("aes-256-gcm").encrypt
  cipher.key = OpenSSL::Digest.digest("SHA256", secret)
  iv = cipher.random_iv
  sealed = cipher.update(text) + cipher.final
  ["gcm:#{Base64.strict_encode64(sealed)}:#{Base64.strict_encode64(cipher.auth_tag)}", Base64.strict_encode64(iv)]
end

input = JSON.parse($stdin.read)
connection = Bunny.new(input["url"]).start
channel = connection.create_channel
channel.confirm_select
replies = channel.queue("llm.fleet.reply.#{SecureRandom.hex(8)}", durable: false, auto_delete: true)
arrived = Queue.new
replies.subscribe(manual_ack: false) { |_delivery, properties, payload| arrived << [properties, payload] }
exchange = channel.topic("llm.fleet", durable: true, passive: true)

answers = input["requests"].map do |request|
  body = request["body"].merge("correlation_id" => "req_#{SecureRandom.uuid}", "reply_to" => replies.name)
  if body["protocol_version"]
    body["request_id"] = "req_#{SecureRandom.uuid}"
    body["idempotency_key"] = "idem_#{SecureRandom.uuid}"
    body["expires_at"] = (Time.now + 60).utc.iso8601
    body["signed_token"] = token(body, input["secret"])
  end
  headers = { "legion_protocol_version" => "2.0" }
  text = JSON.generate(body)
  text, headers["iv"] = encrypted(text, input["secret"]) if request["encrypt"]
  exchange.publish(
    text,
    routing_key: input["key"], mandatory: true, content_type: "application/json", content_encoding: "identity",
    type: "llm.fleet.request", message_id: "llm_fleet_req_#{SecureRandom.uuid}", persistent: false,
    correlation_id: body["correlation_id"], reply_to: replies.name, expiration: "60000", timestamp: Time.now.to_i,
    app_id: "lex-llm", headers: headers
  )
  raise "the broker refused a request" unless channel.wait_for_confirms

  properties, payload = arrived.pop
  reply = JSON.parse(payload)
  stated = [properties.correlation_id, reply.fetch("correlation_id", body["correlation_id"])]
  raise "an answer to another request" unless stated.uniq == [body["correlation_id"]]

  { type: properties.type, body: reply }
end
connection.close
puts JSON.generate(answers)
