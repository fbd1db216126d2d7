package quire.server.openai;

import org.jspecify.annotations.Nullable;
import quire.engine.BeamSearch;
import quire.engine.BeamSearch.EarlyStopping;
import quire.engine.InvalidRequestException;
import quire.server.api.Fields;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/** Reads the parameters of beam search, as vLLM has them. */
final class BeamReader {
    private BeamReader() {}

    /** Whether a request asks for a beam search. */
    static boolean isWanted(Fields body) {
        JsonNode wanted = body.get("use_beam_search");
        return wanted != null && !Fields.isNeutral(wanted) && body.bool("use_beam_search", false);
    }

    /**
     * The beam search of a request; null if it wants none.
     *
     * @param width answers that are computed
     */
    static @Nullable BeamSearch read(Fields body, int width) {
        double penalty = body.number("length_penalty", 1);
        EarlyStopping stopping = earlyStopping(body);
        if (isWanted(body)) {
            try {
                return new BeamSearch(width, penalty, stopping);
            } catch (InvalidRequestException e) {
                throw SamplingReader.refusal(e, SamplingReader.Names.COMPLETIONS);
            }
        }
        if (penalty != 1) {
            throw withoutSearch("length_penalty");
        }
        if (stopping != EarlyStopping.NO) {
            throw withoutSearch("early_stopping");
        }
        return null;
    }

    private static HttpException withoutSearch(String parameter) {
        return HttpException.invalid(
                parameter, "invalid_value", "'" + parameter + "' is only allowed when 'use_beam_search' is true.");
    }

    private static EarlyStopping earlyStopping(Fields body) {
        JsonNode value = body.get("early_stopping");
        if (value == null || Fields.isNeutral(value)) {
            return EarlyStopping.NO;
        }
        if (value.isBoolean()) {
            return EarlyStopping.YES;
        }
        if (value.isString() && value.stringValue().equals("never")) {
            return EarlyStopping.NEVER;
        }
        throw Fields.wrongType("early_stopping", "true, false or \"never\"", value);
    }
}
