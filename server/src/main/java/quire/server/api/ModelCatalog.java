package quire.server.api;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.server.http.HttpException;

/** The models that a server has, loaded or not. Does not block. */
public interface ModelCatalog {
    /** All models, the one for requests without a name first. */
    List<ListedModel> models();

    /**
     * The model of a name.
     *
     * @param asked null or empty for the model of requests without a name
     * @throws HttpException 404 if there is no such model; 400 if there must be a name
     */
    ListedModel find(@Nullable String asked);

    /**
     * Says how long a model stays loaded when nobody uses it.
     *
     * @param asked as in {@link #find}
     * @param time zero to unload it as soon as nobody uses it; negative for as long as its memory is not needed
     */
    void stay(@Nullable String asked, Duration time);
}
