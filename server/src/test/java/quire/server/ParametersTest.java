package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** Every documented parameter has its effect, or is refused with an error that names it. */
@Timeout(60)
class ParametersTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .config(TestServer.config().strictLimits(true).build())
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "max_tokens|-2|max_tokens",
                "max_tokens|1.5|max_tokens",
                "max_tokens|\"5\"|max_tokens",
                "max_tokens|99999999999|max_tokens",
                "max_tokens|510|max_tokens",
                "temperature|\"hot\"|temperature",
                "temperature|-1|temperature",
                "temperature|1e999|temperature",
                "top_p|-1|top_p",
                "top_p|1.1|top_p",
                "top_k|1.5|top_k",
                "min_p|2|min_p",
                "repetition_penalty|0|repetition_penalty",
                "presence_penalty|3|presence_penalty",
                "frequency_penalty|-3|frequency_penalty",
                "n|129|n",
                "n|0|n",
                "best_of|129|best_of",
                "n\":3,\"best_of|2|best_of",
                "stream\":true,\"best_of|2|best_of",
                "suffix|\"x\"|suffix",
                "stop|5|stop",
                "stop|true|stop",
                "stop|[\"a\",5]|stop[1]",
                "stop|[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"]|stop",
                "logit_bias|{\"x\":1}|logit_bias",
                "logit_bias|{\"999999\":1}|logit_bias",
                "logit_bias|{\"5\":101}|logit_bias",
                "logit_bias|[1]|logit_bias",
                "logprobs|21|logprobs",
                "logprobs|\"yes\"|logprobs",
                "seed|1.5|seed",
                "seed|99999999999999999999|seed",
                "stream|\"yes\"|stream",
                "stream_options|{\"include_usage\":true}|stream_options",
                "user|5|user",
                "stop_token_ids|[258]|stop_token_ids[0]",
                "ignore_eos|1|ignore_eos",
                "priority|1.5|priority",
                "priority|2147483648|priority",
                "timeout_ms|-1|timeout_ms",
                "timeout_ms|86400001|timeout_ms",
                "min_tokens|17|min_tokens",
                "min_tokens|-1|min_tokens",
                "guided_regex\":\"a\",\"min_tokens|1|min_tokens",
                "allowed_token_ids|[258]|allowed_token_ids[0]",
                "bad_words|[5]|bad_words[0]",
                "bad_words|\"a\"|bad_words",
                "include_stop_str_in_output|1|include_stop_str_in_output",
                "use_beam_search|1|use_beam_search",
                "length_penalty|2|length_penalty",
                "early_stopping|true|early_stopping",
                "use_beam_search\":true,\"early_stopping|\"always\"|early_stopping",
                "use_beam_search\":true,\"length_penalty|11|length_penalty",
                "use_beam_search\":true,\"temperature|0.5|temperature",
                "use_beam_search\":true,\"top_k|5|top_k",
                "use_beam_search\":true,\"frequency_penalty|1|frequency_penalty",
                "use_beam_search\":true,\"stop|\"a\"|stop",
                "use_beam_search\":true,\"guided_regex|\"a\"|use_beam_search",
                "use_beam_search\":true,\"n|128|n",
                "num_beams|4|num_beams",
                "guided_json|5|guided_json",
                "property_order|\"schema\"|property_order",
                "guided_json\":{},\"property_order|\"x\"|property_order",
                "guided_json\":{},\"property_order|5|property_order",
                "guided_json|\"{\"|guided_json",
                "guided_json|{\"not\":{}}|guided_json",
                "guided_regex|\"(?=a)\"|guided_regex",
                "guided_regex|[1]|guided_regex",
                "guided_choice|\"a\"|guided_choice",
                "guided_choice|[\"a\",\"\"]|guided_choice",
                "guided_choice|[1]|guided_choice[0]",
                "guided_grammar|\"root ::= b\"|guided_grammar",
                "grammar|\"root\"|grammar",
                "grammar|{\"type\":\"regex\"}|grammar",
                "ebnf|5|ebnf",
                "guided_whitespace_pattern|\"\\\\s*\"|guided_whitespace_pattern",
                "json_schema|[1]|json_schema",
                "regex|\"[\"|regex",
                "structured_outputs|\"json\"|structured_outputs",
                "structured_outputs|{\"jsn\":{}}|structured_outputs.jsn",
                "structured_outputs|{\"regex\":\"a\",\"choice\":[\"b\"]}|structured_outputs.choice",
                "structured_outputs|{\"structural_tag\":\"x\"}|structured_outputs.structural_tag",
                "structured_outputs|{\"json\":{\"type\":\"strin\"}}|structured_outputs.json",
                "response_format|\"json\"|response_format",
                "response_format|{\"type\":\"xml\"}|response_format.type",
                "response_format|{\"type\":\"json_object\",\"json_schema\":{}}|response_format.json_schema",
                "response_format|{\"type\":\"json_schema\"}|response_format.json_schema",
                "response_format|{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\"}}|response_format.json_schema.schema",
                "response_format|{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"$dynamicRef\":\"x\"}}}|response_format.json_schema.schema",
                "enable_thinking|true|enable_thinking",
                "reasoning|{\"effort\":\"low\"}|reasoning",
                "format|\"json\"|format",
                "options|{\"num_ctx\":5}|options",
                "dry_multiplier|-1|dry_multiplier",
                "dry_multiplier\":1,\"dry_base|11|dry_base",
                "dry_multiplier\":1,\"dry_allowed_length|1001|dry_allowed_length",
                "dry_penalty_last_n|-2|dry_penalty_last_n",
                "dynatemp_range|0.5|dynatemp_range",
                "dry_sequence_breakers|\"a\"|dry_sequence_breakers",
                "top_n_sigma|1001|top_n_sigma",
                "xtc_probability|1.5|xtc_probability",
                "xtc_threshold|1.5|xtc_threshold",
                "typical_p|0|typical_p",
                "typ_p|1.1|typ_p",
                "mirostat|2|mirostat",
                "n_predict|-2|n_predict",
                "n_predict|510|n_predict",
                "repeat_penalty|-1|repeat_penalty",
                "stop_sequences|5|stop_sequences",
                "unheard_of|{\"a\":[1]}|unheard_of",
                "max_tokns|5|max_tokns",
                "verbosity|\"low\"|verbosity",
                "top_logprobs|5|top_logprobs",
                "service_tier|\"flex\"|service_tier",
                "prompt|5|prompt",
                "prompt|null|prompt",
                "prompt|[]|prompt",
                "prompt|[\"a\",5]|prompt[1]",
                "prompt|[[1],[2,258]]|prompt[1][1]",
                "prompt|[1,\"a\"]|prompt[1]",
                "prompt_logprobs|21|prompt_logprobs",
                "prompt_logprobs|-1|prompt_logprobs",
                "stream\":true,\"prompt_logprobs|1|prompt_logprobs",
                "stream\":true,\"logprobs\":1,\"echo|true|echo",
                "truncate_prompt_tokens|512|truncate_prompt_tokens",
                "prompt|[1,258]|prompt[1]",
                "prompt|{}|prompt",
                "model|[]|model",
                "model|5|model",
            })
    void completions_badValue_isRefusedByName(String name, String value, String param) throws Exception {
        String body = "{\"model\":\"fake\",\"prompt\":\"hi\"}";
        String changed = name.equals("model") || name.equals("prompt")
                ? body.replaceAll("\"" + name + "\":\"[a-z]+\"", "\"" + name + "\":" + value)
                : body.replace("}", ",\"" + name + "\":" + value + "}");
        assertRefused(server.post("/v1/completions", changed), param);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "messages|null|messages",
                "messages|[]|messages",
                "messages|\"hi\"|messages",
                "messages|[5]|messages[0]",
                "messages|[{\"content\":\"x\"}]|messages[0].role",
                "messages|[{\"role\":\"king\",\"content\":\"x\"}]|messages[0].role",
                "messages|[{\"role\":\"user\"}]|messages[0].content",
                "messages|[{\"role\":\"user\",\"content\":5}]|messages[0].content",
                "messages|[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]|messages[0].content[0].type",
                "messages|[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]|messages[0].content[0].type",
                "messages|[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]|messages[0].content[0].text",
                "messages|[{\"role\":\"user\",\"content\":\"x\",\"name\":5}]|messages[0].name",
                "messages|[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}]|messages[0].tool_calls[0].function.arguments",
                "messages|[{\"role\":\"user\",\"content\":\"forbidden\"}]|messages",
                "tools|{\"a\":1}|tools",
                "tools|[{\"type\":\"web\"}]|tools[0].type",
                "tools|[{\"type\":\"function\"}]|tools[0].function",
                "tool_choice|\"required\"|tool_choice",
                "tool_choice|{\"type\":\"function\"}|tool_choice.function",
                "functions|[{}]|functions[0].name",
                "function_call|\"always\"|function_call",
                "audio|{}|audio",
                "modalities|[\"text\",\"audio\"]|modalities",
                "prediction|{}|prediction",
                "reasoning_effort|\"a lot\"|reasoning_effort",
                "verbosity|\"low\"|verbosity",
                "web_search_options|{}|web_search_options",
                "parallel_tool_calls|5|parallel_tool_calls",
                "stream_options|{\"include_usge\":true}|stream_options.include_usge",
                "suffix|\"x\"|suffix",
                "response_format|{\"type\":\"json_schema\"}|response_format.json_schema",
                "logprobs|5|logprobs",
                "top_logprobs|5|top_logprobs",
                "max_completion_tokens|-2|max_completion_tokens",
                "max_completion_tokens|600|max_completion_tokens",
                "chat_template|\"x\"|chat_template",
                "top_p|2|top_p",
            })
    void chat_badValue_isRefusedByName(String name, String value, String param) throws Exception {
        String messages = "[{\"role\":\"user\",\"content\":\"hi\"}]";
        String body = name.equals("messages")
                ? "{\"model\":\"fake\",\"messages\":" + value + "}"
                : "{\"model\":\"fake\",\"messages\":" + messages + ",\"" + name + "\":" + value + "}";
        assertRefused(server.post("/v1/chat/completions", body), param);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "\"n\":1,\"best_of\":1,\"suffix\":null,\"echo\":false,\"user\":\"me\",\"logit_bias\":{},\"stop\":null",
                "\"max_tokens\":3.0,\"top_k\":-1,\"response_format\":{\"type\":\"text\"},\"store\":false",
                "\"store\":true,\"metadata\":{\"a\":\"b\"},\"priority\":-3,\"timeout_ms\":60000,\"keep_alive\":\"5m\",\"cache_prompt\":true",
                // what the web page of llama.cpp's server sends
                "\"dynatemp_range\":0,\"dynatemp_exponent\":1,\"xtc_probability\":0,\"xtc_threshold\":0.1,\"typ_p\":1",
                "\"repeat_last_n\":64,\"repeat_penalty\":1,\"dry_multiplier\":0,\"dry_base\":1.75,\"timings_per_token\":false",
                "\"max_tokens\":2,\"n_predict\":2.0,\"messages\":null,\"tools\":[]",
                "\"stream_options\":null,\"unheard_of\":null,\"service_tier\":\"auto\",\"prompt_cache_key\":\"k\"",
            })
    void completions_harmlessFields_areAccepted(String fields) throws Exception {
        HttpResponse<String> response =
                server.post("/v1/completions", "{\"model\":\"fake\",\"prompt\":\"hi\"," + fields + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }

    @ParameterizedTest
    @ValueSource(strings = {"repeat_penalty", "presence_penalty", "frequency_penalty"})
    void completions_penaltyWindow_isRefusedWithAPenaltyOnly(String penalty) throws Exception {
        String fields = "{\"prompt\":\"hi\",\"repeat_last_n\":64,\"max_tokens\":1,\"" + penalty + "\":";
        assertRefused(server.post("/v1/completions", fields + "1.1}"), "repeat_last_n");
        assertRefused(server.post("/v1/completions", fields.replace("64", "0") + "1.1}"), "repeat_last_n");
        HttpResponse<String> neutral =
                server.post("/v1/completions", fields + (penalty.equals("repeat_penalty") ? "1}" : "0}"));
        assertThat(neutral.statusCode()).as(neutral.body()).isEqualTo(200);
        HttpResponse<String> whole = server.post("/v1/completions", fields.replace("64", "-1") + "1.1}");
        assertThat(whole.statusCode()).as(whole.body()).isEqualTo(200);
    }

    @Test
    void completions_synonyms_haveTheEffectOfTheirNames() throws Exception {
        String same = ",\"seed\":3,\"temperature\":1.5,\"ignore_eos\":true";
        assertThat(text("\"n_predict\":40,\"repeat_penalty\":1.8,\"stop_sequences\":[\"e\"]" + same))
                .isEqualTo(text("\"max_tokens\":40,\"repetition_penalty\":1.8,\"stop\":[\"e\"]" + same));
        assertThat(text("\"n_predict\":40,\"repeat_penalty\":1.8" + same))
                .isNotEqualTo(text("\"max_tokens\":40" + same));
    }

    @Test
    void completions_topPOfZero_isTheLikeliestToken() throws Exception {
        String same = ",\"seed\":3,\"ignore_eos\":true,\"max_tokens\":40";
        assertThat(text("\"top_p\":0,\"temperature\":1.5" + same)).isEqualTo(text("\"temperature\":0" + same));
    }

    /** Each changes the answer of a request whose tokens are nearly equally likely, and is repeatable. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "\"top_n_sigma\":0.5",
                "\"typical_p\":0.2",
                "\"xtc_probability\":1,\"xtc_threshold\":0.01",
                "\"dry_multiplier\":5,\"dry_allowed_length\":1,\"dry_sequence_breakers\":[\"\\n\"]",
                "\"allowed_token_ids\":[99,100,101,102]",
            })
    void completions_filtersAndDry_changeTheAnswer(String fields) throws Exception {
        String same = ",\"seed\":3,\"temperature\":2,\"ignore_eos\":true,\"max_tokens\":120";
        assertThat(text(fields + same)).isEqualTo(text(fields + same)).isNotEqualTo(text("\"top_k\":0" + same));
    }

    @Test
    void completions_truncatedPrompt_isItsEnd() throws Exception {
        String same = ",\"seed\":3,\"max_tokens\":20,\"echo\":true";
        String rest = text("\"truncate_prompt_tokens\":2" + same);
        assertThat(rest).startsWith("i").isEqualTo(textOf("{\"prompt\":\"i\"" + same + "}"));
        String full = text("\"seed\":3,\"max_tokens\":20,\"echo\":true");
        assertThat(text("\"truncate_prompt_tokens\":-1" + same)).isEqualTo(full);
        String longText = "x".repeat(600) + "y";
        HttpResponse<String> response = server.post(
                "/v1/completions", "{\"prompt\":\"" + longText + "\",\"max_tokens\":12,\"truncate_prompt_tokens\":-1}");
        assertThat(TestServer.json(response).get("usage").get("prompt_tokens").intValue())
                .as(response.body())
                .isEqualTo(TestServer.CONTEXT - 12);
    }

    private static String textOf(String body) throws Exception {
        HttpResponse<String> response = server.post("/v1/completions", body);
        return TestServer.json(response).get("choices").get(0).get("text").stringValue();
    }

    @Test
    void completions_badWords_doNotOccur() throws Exception {
        String same = "\"seed\":3,\"ignore_eos\":true,\"max_tokens\":60,\"temperature\":0";
        String free = text(same);
        String letter = free.substring(1, 2);
        String pair = free.substring(4, 6);
        assertThat(text(same + ",\"bad_words\":[\"" + letter + "\",\"" + pair + "\"]"))
                .isNotEqualTo(free)
                .doesNotContain(letter)
                .doesNotContain(pair);
    }

    @Test
    void completions_dryBreakers_changeTheAnswer() throws Exception {
        String same = "\"seed\":3,\"ignore_eos\":true,\"max_tokens\":200,\"temperature\":0,\"dry_multiplier\":9,"
                + "\"dry_allowed_length\":1,\"dry_sequence_breakers\":";
        assertThat(text(same + "[]")).isNotEqualTo(text(same + "[\"a\",\"e\",\"i\",\"o\",\"u\",\"th\"]"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"\"dry_base\":0.5", "\"dry_penalty_last_n\":0"})
    void completions_dryWithABaseBelowOneOrNoWindow_isOff(String off) throws Exception {
        String same = "\"seed\":3,\"ignore_eos\":true,\"max_tokens\":200,\"temperature\":0";
        String dry = same + ",\"dry_multiplier\":9,\"dry_allowed_length\":1";
        assertThat(text(dry)).isNotEqualTo(text(same));
        assertThat(text(dry + "," + off)).isEqualTo(text(same));
    }

    @Test
    void completions_stopIncluded_endsWithTheStopString() throws Exception {
        String same = "\"seed\":3,\"ignore_eos\":true,\"max_tokens\":60,\"temperature\":0";
        String free = text(same);
        String stop = free.substring(5, 7);
        String cut = free.substring(0, free.indexOf(stop));
        assertThat(text(same + ",\"stop\":\"" + stop + "\"")).isEqualTo(cut);
        assertThat(text(same + ",\"stop\":\"" + stop + "\",\"include_stop_str_in_output\":true"))
                .isEqualTo(cut + stop);
        assertThat(text(same + ",\"stop\":\"" + stop + "\",\"min_tokens\":60")).isEqualTo(free);
        int token = 2 + stop.charAt(0);
        assertThat(text(same + ",\"stop_token_ids\":[" + token + "],\"include_stop_str_in_output\":true"))
                .isEqualTo(free.substring(0, free.indexOf(stop.charAt(0)) + 1));
        assertThat(text(same + ",\"stop_token_ids\":[" + token + "],\"min_tokens\":60"))
                .hasSizeGreaterThan(50)
                .doesNotContain(stop.substring(0, 1));
    }

    @Test
    void completions_synonymsThatDiffer_areRefused() throws Exception {
        for (String fields : List.of(
                "\"max_tokens\":2,\"n_predict\":3",
                "\"n_predict\":3,\"max_tokens\":2",
                "\"num_predict\":2,\"n_predict\":3")) {
            HttpResponse<String> response = server.post("/v1/completions", "{\"prompt\":\"hi\"," + fields + "}");
            assertRefused(response, "n_predict");
            assertThat(response.body()).contains("send one of them");
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "\"max_tokns\":5|Did you mean 'max_tokens'?",
                "\"verbosity\":\"low\"|It belongs to /v1/chat/completions.",
                "\"unheard_of\":1|Leave it out.",
                "\"options\":{\"seed\":1}|Instead, send its fields at the top level of the body.",
                "\"top_p\":-1|'top_p' is -1; it must be from 0 to 1",
                "\"repeat_penalty\":0|'repeat_penalty' is 0; it must be",
            })
    void completions_refusal_saysWhatToUseInstead(String field, String words) throws Exception {
        HttpResponse<String> response = server.post("/v1/completions", "{\"prompt\":\"hi\"," + field + "}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("message").stringValue()).contains(words);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "\"thinking\":{\"type\":\"disabled\"}|use enable_thinking",
                "\"reasoning\":{\"max_tokens\":5}|thinking_token_budget",
                "\"format\":\"json\"|use response_format",
            })
    void chat_refusal_saysWhatToUseInstead(String field, String words) throws Exception {
        HttpResponse<String> response = server.post(
                "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," + field + "}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("message").stringValue()).contains(words);
    }

    @Test
    void unknownParameters_whereTheOperatorAllowsThem_areIgnored() throws Exception {
        try (TestServer lenient = TestServer.builder()
                .config(TestServer.config().unknownParametersAllowed(true).build())
                .start()) {
            for (String field : List.of("\"unheard_of\":{\"a\":[1]}", "\"stream_options\":{\"b\":1}")) {
                HttpResponse<String> response =
                        lenient.post("/v1/completions", "{\"prompt\":\"hi\",\"max_tokens\":2," + field + "}");
                assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            }
            assertRefused(lenient.post("/v1/completions", "{\"prompt\":\"hi\",\"mirostat\":2}"), "mirostat");
        }
    }

    private static String text(String fields) throws Exception {
        HttpResponse<String> response =
                server.post("/v1/completions", "{\"model\":\"fake\",\"prompt\":\"hi\"," + fields + "}");
        return TestServer.json(response).get("choices").get(0).get("text").stringValue();
    }

    @Test
    void chat_toolsAndEarlierCalls_reachTheTemplateAsValues() throws Exception {
        String messages =
                "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
                        + "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","
                        + "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]},"
                        + "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"c\"}]";
        String tools = ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";
        String rendered = "[{type=function, function={name=f}}]<user>a\nb<assistant>null"
                + "[{id=1, type=function, function={name=f, arguments={x=1}}}]<tool>c<assistant>";
        assertThat(tokenized("{\"messages\":" + messages + tools + "}")).isEqualTo(rendered);
        assertThat(tokenized("{\"messages\":" + messages + tools + ",\"tool_choice\":\"none\"}"))
                .isEqualTo(rendered.substring(rendered.indexOf('<')));
        assertThat(tokenized(
                        "{\"add_generation_prompt\":false,\"messages\":[{\"role\":\"developer\",\"content\":\"d\"}]}"))
                .isEqualTo("<system>d");
    }

    /** Servers that answer with reasoning alone send {@code null}, and clients send it back. */
    @ParameterizedTest
    @ValueSource(strings = {"", ",\"content\":null", ",\"content\":null,\"tool_calls\":[]", ",\"content\":[]"})
    void chat_earlierAnswerWithoutContent_isEmpty(String content) throws Exception {
        String messages = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\"" + content
                + "},{\"role\":\"user\",\"content\":\"b\"}]";
        assertThat(tokenized("{\"messages\":" + messages + "}")).isEqualTo("<user>a<assistant><user>b<assistant>");
    }

    @Test
    void chat_toolsWithATemplateThatIgnoresThem_areRefused() throws Exception {
        TestServer.Builder builder = TestServer.builder()
                .template((messages, tools, generate) ->
                        "<user>" + messages.getFirst().get("content"));
        try (TestServer other = builder.start()) {
            String body = "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":2";
            assertThat(other.post("/v1/chat/completions", body + "}").statusCode())
                    .isEqualTo(200);
            assertRefused(
                    other.post(
                            "/v1/chat/completions",
                            body + ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}"),
                    "tools");
        }
    }

    @Test
    void chat_withoutTemplate_isRefusedWithTheReason() throws Exception {
        try (TestServer plain = TestServer.builder().template(null).start()) {
            HttpResponse<String> response = plain.post(
                    "/v1/chat/completions",
                    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
            assertThat(response.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(response).get("message").stringValue())
                    .contains(plain.engine.chatTemplateError());
        }
    }

    @Test
    void tokenize_andBack_isVllmsShape() throws Exception {
        JsonNode plain =
                TestServer.json(server.post("/tokenize", "{\"prompt\":\"h\u00e9\",\"return_token_strs\":true}"));
        assertThat(plain.toString())
                .isEqualTo("{\"count\":4,\"max_model_len\":512,\"tokens\":[0,106,197,171],"
                        + "\"token_strs\":[\"<s>\",\"<0x68>\",\"<0xC3>\",\"<0xA9>\"]}");
        JsonNode bare = TestServer.json(server.post("/tokenize", "{\"prompt\":\"h\",\"add_special_tokens\":false}"));
        assertThat(bare.get("tokens").toString()).isEqualTo("[106]");
        JsonNode back = TestServer.json(server.post("/detokenize", "{\"model\":\"fake\",\"tokens\":[0,106,197,171]}"));
        assertThat(back.toString()).isEqualTo("{\"prompt\":\"h\u00e9\"}");
        assertRefused(server.post("/detokenize", "{\"tokens\":[999]}"), "tokens[0]");
        assertRefused(server.post("/tokenize", "{}"), "prompt");
    }

    private static String tokenized(String body) throws Exception {
        JsonNode tokens = TestServer.json(server.post("/tokenize", body)).get("tokens");
        return TestServer.json(server.post("/detokenize", "{\"tokens\":" + tokens + "}"))
                .get("prompt")
                .stringValue();
    }

    private static void assertRefused(HttpResponse<String> response, String param) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
        JsonNode error = TestServer.error(response);
        assertThat(error.get("param").stringValue()).as(response.body()).isEqualTo(param);
        assertThat(error.get("type").stringValue()).isEqualTo("invalid_request_error");
        assertThat(error.get("message").stringValue()).contains(param);
    }
}
